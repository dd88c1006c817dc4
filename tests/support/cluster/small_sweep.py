"""The small sweep with a fake engine, as a process of its own that a test watches and gives signs."""

import subprocess
from pathlib import Path

from results.store.run_store import RunStore
from tests.support.cluster.processes import Bench

PROGRAM = "tests.support.cluster.program"
CELLS = 16


def start(bench: Bench, fake: str, spec: str, *options: str) -> "subprocess.Popen[str]":
    """Start the small sweep with a fake engine, into a folder beside the specification."""
    return bench.start(PROGRAM, fake, "run", spec, "--out", str(Path(spec).parent / "run"), *options)


def finished(spec: str) -> int:
    """Return how many cells readers see; only whole batches are among them."""
    cells = RunStore(Path(spec).parent / "run").scan("cells").collect()
    assert set(cells["cell_id"].value_counts()["count"]) <= {1}
    return cells.height


def touch(spec: str, mark: str) -> None:
    """Give the fakes a sign."""
    Path(spec).with_name(f"marker.{mark}").touch()


def waits(spec: str, cells: int = CELLS) -> bool:
    """Say whether half of the batches are finished, and one of the others waits for a sign."""
    try:
        return any(Path(spec).parent.glob("marker.*.waits")) and finished(spec) == cells // 2
    except FileNotFoundError:
        return False  # A part took its place between two looks.
