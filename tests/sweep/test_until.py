"""Sweeps whose replicates are adaptive: from the first round to the last, over an end in the middle and a second start."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from engine.simulate import Batch, BatchCounts
from engine.vocabulary import COUNTER_INDEX
from results.labels import LabelledRun
from results.pricing import price_cells
from results.run import own_costs
from results.sequential import Target, look_half_widths, look_sizes, wanted_replicates
from results.store import RunStore
from sweep.cell import knobs_key
from sweep.commands.plan import plan_content, plan_lines
from sweep.exit_codes import ExitCode
from sweep.plan import plan_sweep
from tests.sweep import fakes
from tests.sweep.starting import read, start, write_spec

ROOT = Path(__file__).resolve().parent.parent.parent
UNTIL = 'until={half_width: "1 %", min: 3, max: 12, policies: [kvm-3.3]}'
SPREAD = {1: 0.2, 2: 60.0}
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
    cells = LabelledRun(RunStore(run)).scan_cells().group_by("guest").agg(pl.col("replicate").n_unique())
    return dict(cells.collect().iter_rows())


def differences(run: Path) -> dict[str, np.ndarray]:
    """Return by guest the differences of kvm-3.3 to kvm-3.0 in % of elapsed time, by replicate, without our statistics."""
    store = RunStore(run)
    costs = own_costs(store)
    assert costs is not None
    priced = price_cells(store.scan_windows(), costs).collect().sort("replicate")
    ours, base = (priced.filter(pl.col("policy") == name) for name in ("kvm-3.3", "kvm-3.0"))
    both = ours.join(base, on=["guest", "replicate"], suffix="_base", maintain_order="left")
    found = both.with_columns(d=100.0 * (pl.col("elapsed_ns") / pl.col("elapsed_ns_base") - 1.0))
    return {str(guest): rows["d"].to_numpy() for (guest,), rows in found.group_by("guest")}


def test_replicates_are_added_until_the_width_is_met(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each guest gets the replicates of the first look at which its half width is met, or the most; the run says so."""
    code = start(spec_of(tmp_path), UNTIL, simulate=scattered)

    err = capsys.readouterr().err
    target = Target(half_width=1.0, minimum=3, maximum=12, confidence=0.95)
    found = differences(tmp_path / "run")
    assert code is ExitCode.OK
    assert replicates(tmp_path / "run") == {guest: len(values) for guest, values in found.items()}
    assert {guest: wanted_replicates([values], target) for guest, values in found.items()} == {
        guest: len(values) for guest, values in found.items()
    }
    assert {guest: len(values) for guest, values in found.items()} == {"1cpu-1g": 3, "2cpu-1g": 12}
    widths = {guest: look_half_widths(values[None], target)[0] for guest, values in found.items()}
    assert widths["1cpu-1g"] <= 1.0 < widths["2cpu-1g"]
    last = err.splitlines()
    assert any(re.fullmatch(r"until: kernbench on 1cpu-1g: 3 replicates, .* \(kvm-3.3\): 1 % reached", x) for x in last)
    assert any(re.fullmatch(r"until: .* 2cpu-1g: 12 replicates, .*: 1 % NOT reached", x) for x in last)
    # One batch has the four policies on one replicate; only the looks of the wide guest ask for more.
    looks = look_sizes(3, 12)
    asked = [int(count) for count in re.findall(r"(\d+) cells in \d+ batches to do", err)]
    assert asked == [2 * 3 * 4, *(4 * (after - before) for before, after in zip(looks, looks[1:], strict=False))]


def test_a_second_start_adds_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same command again simulates nothing, and says again what the rounds have come to."""
    spec = spec_of(tmp_path)
    start(spec, UNTIL, simulate=scattered)
    before = RunStore(tmp_path / "run").provenance()
    capsys.readouterr()

    code = start(spec, UNTIL, simulate=scattered)

    err = capsys.readouterr().err
    assert code is ExitCode.OK
    assert "nothing to do: 60 cells are already there" in err
    assert "2cpu-1g: 12 replicates" in err
    assert len(before) == len(RunStore(tmp_path / "run").provenance()) == 1


def test_a_stopped_sweep_ends_as_one_that_was_not(tmp_path: Path) -> None:
    """Stopped in the middle of its rounds and started again, a sweep has the tables of one that ran through."""
    spec = spec_of(tmp_path)
    code = (
        "import sys; from pathlib import Path; from tests.sweep.starting import start;"
        "from tests.sweep.test_until import UNTIL, slowly_scattered;"
        "sys.exit(start(Path(sys.argv[1]), UNTIL, simulate=slowly_scattered))"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", code, str(spec)], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "run").glob("cells/*.parquet"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)

    stopped = running.wait(timeout=60)
    there = len(RunStore(tmp_path / "run").finished_cells())
    code_then = start(spec, UNTIL, simulate=scattered)
    start(spec, UNTIL, simulate=scattered, out="through")

    assert (stopped, code_then) == (ExitCode.INTERRUPTED, ExitCode.OK)
    assert 0 < there < 60
    assert replicates(tmp_path / "run") == replicates(tmp_path / "through")
    tables = [
        {path.name: path.read_bytes() for path in (tmp_path / run).glob("*/*.parquet")} for run in ("run", "through")
    ]
    assert tables[0] == tables[1]


def test_a_failing_guest_ends_the_rounds(tmp_path: Path) -> None:
    """Cells that fail are not asked for again and again: the other guest gets its replicates, and the run ends."""
    code = start(spec_of(tmp_path), UNTIL, simulate=fakes.fail_on_two_vcpus)

    assert code is ExitCode.CELLS_FAILED
    assert set(replicates(tmp_path / "run")) == {"1cpu-1g"}


def test_a_wider_target_reads_fewer_replicates(tmp_path: Path) -> None:
    """Whoever asks for less afterwards reads the replicates of that rule, not those that happen to be there."""
    spec = spec_of(tmp_path)
    start(spec, UNTIL, simulate=scattered)

    start(spec, UNTIL.replace('"1 %"', '"99 %"'), simulate=scattered)

    assert replicates(tmp_path / "run") == {"1cpu-1g": 3, "2cpu-1g": 3}
    assert len(RunStore(tmp_path / "run").finished_cells()) == 60


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
