"""Sweeps whose replicates are adaptive: from the first round to the last, stopped in the middle and started again."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from engine.simulate import Batch, BatchCounts
from engine.vocabulary import COUNTER_INDEX
from results.prices.own_costs import own_costs
from results.prices.pricing import price_cells
from results.statistics.sequential import Target, look_half_widths, look_sizes, wanted_replicates
from results.store.labels import LabelledRun
from results.store.run_store import RunStore
from results.upkeep.diff import diff_runs
from sweep.commands.plan import plan_content, plan_lines
from sweep.exit_codes import ExitCode
from sweep.plan.cell import knobs_key
from sweep.plan.plan import plan_sweep
from tests.support import fakes
from tests.support.project import ROOT
from tests.support.starting import read, start, swallow_the_end, write_spec

pytestmark = pytest.mark.timeout(900)
"""Each start brings up processes of its own."""
UNTIL = 'until={half_width: "1 %", min: 3, max: 12, policies: [kvm-3.3]}'
SPREAD = {1: 0.02, 2: 5.0}
"""vCPUs -> how far counts scatter, in % of their mean: settled at the first look, and hardly ever."""


def scattered(batch: Batch) -> BatchCounts:
    """Return counts around a mean: near it on one vCPU, far from it on two."""
    found = fakes.simulate(batch)
    exits = COUNTER_INDEX["exits"]
    for lane, policy in enumerate(batch.policies):
        key = hashlib.blake2b(knobs_key(policy.knobs) + str(batch.seed).encode(), digest_size=8).digest()
        rng = np.random.default_rng(int.from_bytes(key, "little"))
        factor = max(0.0, 1.0 + SPREAD[batch.guest.vcpus] / 100.0 * rng.normal())
        found.windows[:, lane, :] = 1000
        found.windows[:, lane, exits] = round(30_000 * factor)
    found.windows[:, :, COUNTER_INDEX["guest_run_ns"]] = batch.window_ns * batch.guest.vcpus
    found.windows[:, :, COUNTER_INDEX["fatal"]] = 0
    found.totals[:] = found.windows.sum(axis=0)
    found.totals[:, COUNTER_INDEX["pages_peak"]] = 1000
    return found


def slowly_scattered(batch: Batch) -> BatchCounts:
    """Take a moment for it, so that there is a middle in which to stop."""
    time.sleep(0.3)
    return scattered(batch)


def spec_of(folder: Path) -> Path:
    """Write the small specification without a number of replicates."""
    path = write_spec(folder)
    path.write_text(path.read_text(encoding="utf-8").replace("replicates: 2\n", ""), encoding="utf-8")
    return path


def replicates(run: Path) -> dict[str, int]:
    """Return how many replicates each guest has, as readers see them."""
    cells = LabelledRun(RunStore(run)).scan("cells").group_by("guest").agg(pl.col("replicate").n_unique())
    return dict(cells.collect().iter_rows())


def refuse(_: Batch) -> BatchCounts:
    """Stand for an engine that must not be asked."""
    raise AssertionError("a batch was simulated")


def differences(run: Path) -> dict[str, np.ndarray]:
    """Return by guest the differences of kvm-3.3 to kvm-3.0 in % of elapsed time, by replicate."""
    store = RunStore(run)
    costs = own_costs(store)
    assert costs is not None
    priced = price_cells(store.scan("windows"), costs).collect().sort("replicate")
    ours, base = (priced.filter(pl.col("policy") == name) for name in ("kvm-3.3", "kvm-3.0"))
    both = ours.join(base, on=["guest", "replicate"], suffix="_base", maintain_order="left")
    found = both.with_columns(d=100.0 * (pl.col("elapsed_ns") / pl.col("elapsed_ns_base") - 1.0))
    return {str(guest): rows["d"].to_numpy() for (guest,), rows in found.group_by("guest")}


@pytest.fixture(scope="module")
def through(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run a sweep with `until` to its end, and return its specification; the run and what it said are beside it."""
    spec = spec_of(tmp_path_factory.mktemp("until"))
    with (spec.parent / "err").open("w", encoding="utf-8") as err, contextlib.redirect_stderr(err):
        assert start(spec, UNTIL, simulate=scattered) is ExitCode.OK
    return spec


def test_replicates_are_added_until_the_width_is_met(through: Path) -> None:
    """Each guest gets the replicates of the first look at which its half width is met, or the most; the run says so."""
    run, err = through.parent / "run", (through.parent / "err").read_text(encoding="utf-8")
    target = Target(half_width=1.0, minimum=3, maximum=12, confidence=0.95)

    found = differences(run)

    counts = {guest: len(values) for guest, values in found.items()}
    assert counts == {"1cpu-1g": 3, "2cpu-1g": 12} == replicates(run)
    assert {guest: wanted_replicates([values], target) for guest, values in found.items()} == counts
    widths = {guest: look_half_widths(values[None], target)[0] for guest, values in found.items()}
    assert widths["1cpu-1g"] <= 1.0 < widths["2cpu-1g"]
    assert re.search(r"^until: kernbench on 1cpu-1g: 3 replicates, .* \(kvm-3.3\): 1 % reached$", err, re.MULTILINE)
    assert re.search(r"^until: kernbench on 2cpu-1g: 4 replicates, .*: 1 % NOT reached$", err, re.MULTILINE)
    assert re.search(r"^until: kernbench on 2cpu-1g: 12 replicates, .*: 1 % NOT reached$", err, re.MULTILINE)
    # One batch has the four policies on one replicate; only the looks of the wide guest ask for more.
    asked = [int(count) for count in re.findall(r"(\d+) cells in \d+ batch(?:es)? to do", err)]
    assert asked == [2 * 3 * 4, *(4 * (after - before) for before, after in pairwise(look_sizes(3, 12)))]
    assert len(RunStore(run).provenance()) == 1


def test_a_second_start_adds_nothing(through: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same command again simulates nothing, and says again what the rounds have come to."""
    code = start(through, UNTIL, simulate=refuse)

    err = capsys.readouterr().err
    assert code is ExitCode.OK
    assert "nothing to do: 60 cells are already there" in err
    assert "2cpu-1g: 12 replicates" in err


def test_a_wider_target_reads_fewer_replicates(through: Path) -> None:
    """Whoever asks for less afterwards reads the replicates of that rule, not those that happen to be there."""
    shutil.copytree(through.parent / "run", through.parent / "wider")

    code = start(through, UNTIL.replace('"1 %"', '"99 %"'), simulate=refuse, out="wider")

    assert code is ExitCode.OK
    assert replicates(through.parent / "wider") == {"1cpu-1g": 3, "2cpu-1g": 3}
    assert len(RunStore(through.parent / "wider").finished_cells()) == 60


def test_a_stopped_sweep_ends_as_one_that_was_not(through: Path) -> None:
    """Stopped in the middle of its rounds and started again, a sweep has the tables of one that ran through."""
    run = through.parent / "stopped"
    code = (
        # What runs in the background of a script has Ctrl-C ignored.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "import sys; from pathlib import Path; from tests.support.starting import start;"
        "from tests.sweep.start.test_until import UNTIL, slowly_scattered;"
        "sys.exit(start(Path(sys.argv[1]), UNTIL, simulate=slowly_scattered, out='stopped'))"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", code, str(through)], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    deadline = time.monotonic() + 120
    while len(list(run.glob("cells/*.parquet"))) < 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)

    stopped = running.wait(timeout=120)
    there = len(RunStore(run).finished_cells())
    then = start(through, UNTIL, simulate=scattered, out="stopped")

    assert (stopped, then) == (ExitCode.INTERRUPTED, ExitCode.OK)
    assert 0 < there < 60
    assert replicates(run) == replicates(through.parent / "run")
    assert diff_runs(run, through.parent / "run").identical


def test_a_stop_between_rounds_is_no_other_than_one_in_a_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Told to end while it chooses the next round, it ends with that code, keeps its cells and says how to go on."""
    path = spec_of(tmp_path)

    monkeypatch.setattr("sweep.start.execute._next_round", swallow_the_end)

    code = start(path, UNTIL, simulate=scattered)

    assert code == ExitCode.INTERRUPTED
    assert f"interrupted: what is finished is kept. To go on: sweep run {path}" in capfd.readouterr().err
    assert len(RunStore(tmp_path / "run").finished_cells()) > 0


def test_a_failing_guest_ends_the_rounds(tmp_path: Path) -> None:
    """Cells that fail are not asked for again and again: the other guest gets its replicates, and the run ends."""
    code = start(spec_of(tmp_path), UNTIL, simulate=fakes.fail_on_two_vcpus)

    assert code is ExitCode.CELLS_FAILED
    assert set(replicates(tmp_path / "run")) == {"1cpu-1g"}


def test_a_plan_says_at_most_how_many(tmp_path: Path) -> None:
    """A plan has the cells of the first round, and says how many there are at most."""
    sweep = read(spec_of(tmp_path), UNTIL)
    planned = plan_sweep(sweep, "a fake engine")

    assert planned.cell_count == 2 * 12 * 4
    content = plan_content(sweep, planned, left=[], cost=None) | {
        "run": "runs/small",
        "until": sweep.resolved()["until"],
        "cells_at_most": planned.cell_count,
        "batches_at_most": len(planned.batches),
    }
    text = "\n".join(plan_lines(content))
    assert "3 to 12 replicates: more, until each difference in elapsed is known to ±1 %" in text
    assert "at most 96 cells in 24 batches" in text


@pytest.mark.slow
def test_the_verb_plans_the_first_round(tmp_path: Path, project: Path) -> None:
    """`sweep plan` of a sweep with `until` counts the first round as work, and names the most."""
    words = ["plan", str(project / "configs/smoke.yaml"), "--json", "--out", str(tmp_path / "none")]
    text = (project / "configs/smoke.yaml").read_text(encoding="utf-8").replace("replicates: 2", "")
    path = tmp_path / "adaptive.yaml"
    path.write_text(text + 'until: {half_width: "0.5 %", max: 30}\n', encoding="utf-8")
    words[1] = str(path)

    done = subprocess.run(
        [sys.executable, "-m", "sweep.cli", *words], cwd=project, capture_output=True, text=True, check=True
    )

    content = json.loads(done.stdout)
    policies = content["axes"]["policies"]
    assert content["cells_new"] == policies * 2 * 3
    assert content["cells_at_most"] == policies * 2 * 30
