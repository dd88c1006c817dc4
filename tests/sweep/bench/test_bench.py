"""`sweep bench`: figures that belong to the answers that are simulated, for people and for programs."""

import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.guest.parameters import LINUX_2011
from engine.simulate import Batch, run_batch
from sweep.bench import engine, surroundings
from sweep.bench.figures import Figure, Missing, as_text
from sweep.commands.bench import app
from sweep.spec.policies import shipped_policies

SCALE = 0.003
NAMES = [
    "kernel, kernbench, 1 policy",
    "kernel, kernbench, 8 policies",
    f"kernel, kernbench, {len(shipped_policies())} policies",
    "kernel, kernbench, 64 policies",
    "kernel, kernbench, 512 policies",
    "generator",
    "guest model",
    "whole batch, kernbench, 64 policies",
    "libCacheSim LRU, pages of the same trace",
    "random read of 256 MiB",
    "process start to first event",
]


def digest(policies: int) -> str:
    """Return the digest of what a batch counts."""
    batch = Batch(
        workload="kernbench",
        parameters={"scale": SCALE, **LINUX_2011},
        guest=engine.GUEST,
        policies=engine.policy_sets()["64 policies"][:policies],
        seed=engine.SEED,
        window_ns=engine.WINDOW_NS,
    )
    return hashlib.blake2b(run_batch(batch).totals.tobytes(), digest_size=8).hexdigest()


def test_figures_stand_beside_the_answers_of_batches() -> None:
    """JSON has every figure with all rounds, and the digest of the kernel alone is that of a whole batch."""
    words = ["--scale", str(SCALE), "--rounds", "2", "--no-compile", "--json"]

    ended = CliRunner().invoke(app, words)

    content = json.loads(ended.stdout)
    figures = {figure["name"]: figure for figure in content["figures"]}
    measured = [figure for figure in content["figures"] if "not_measured" not in figure]
    assert ended.exit_code == 0
    assert list(figures) == NAMES
    assert {len(figure["rounds"]) for figure in measured} == {2}
    assert figures["kernel, kernbench, 64 policies"]["digest"] == digest(64)
    assert figures["whole batch, kernbench, 64 policies"]["digest"] == digest(64)


def test_rates_and_missing_figures_are_shown() -> None:
    """A table has median, extremes and the rate; what could not be measured is a note with the reason."""
    figure = Figure(name="kernel", unit="ns/event", rounds=(3.0, 1.0, 2.0), digest="abc", per_second=32e9)
    missing = Missing(name="LRU", reason="it is not installed")

    text = as_text("a machine", [figure, missing])

    assert text.splitlines()[0] == "a machine"
    assert text.splitlines()[3].split() == ["kernel", "abc", "2", "1", "3", "ns/event", "32,000"]
    assert text.splitlines()[-1] == "note: LRU: not measured: it is not installed"


def test_a_recording_that_is_none_is_refused(tmp_path: Path) -> None:
    """The error names the option, what was found and the command that says more."""
    ended = CliRunner().invoke(app, ["--recording", f"{tmp_path}/none.npy", "--scale", "0.003"])

    assert "none.npy: no array of operations" in str(ended.exception)
    assert "sweep trace info" in str(ended.exception)


def test_without_a_checkout_there_is_no_build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An installed package says why it does not measure the compiler."""
    monkeypatch.setattr(surroundings, "ROOT", tmp_path)

    assert surroundings.measure_compile() == Missing(name="building the core", reason="this is no checkout")
