"""Writers that are killed leave whole batches or nothing: real processes, real SIGKILL."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pytest

from results.compaction import compact
from results.store import RunStore
from tests.results.synthetic import PROVENANCE, SPEC, bytes_of, make_run, replicate_batches, write_batch

WINDOWS: Final = 4
KILLS: Final = 30
STEPS: Final = ("fsync", "link", "replace", "unlink")
PRELOADED: Final = ["pandas", "pyarrow.acero", "pyarrow.dataset", "tests.results.test_crashes"]
"""What pyarrow imports when it needs it: once for all writers instead of once for each."""
_SERVER: Final = multiprocessing.get_context("forkserver")


def write_run(path: Path, batches: int) -> None:
    """Do what a driver does, as often as needed: take up the run, write what is missing, compact."""
    store = RunStore(path)
    store.create(SPEC, PROVENANCE)
    store.remove_orphans()
    finished = store.finished_cells()
    for name, cells in replicate_batches(batches):
        if cells[0].cell_id not in finished:
            store.commit(write_batch(store, name, cells, WINDOWS))
    compact(store, roll_rows=50)


def write_until_step(path: Path, batches: int, step: int) -> None:
    """Write the run, but die before the file system call of this number."""
    taken = 0

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **keywords: Any) -> Any:
            nonlocal taken
            taken += 1
            if taken > step:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **keywords)

        return wrapper

    for name in STEPS:
        # A killed process loses nothing that it gave to the system, so waiting for the disk would prove nothing.
        setattr(os, name, counted(getattr(os, name) if name != "fsync" else no_wait))
    write_run(path, batches)


def no_wait(_descriptor: int) -> None:
    """Do not wait for the disk."""


def run_writer(target: Callable[..., None], *arguments: Any, seconds: float | None = None) -> int | None:
    """Run a writer in a process of its own, kill it after some time if given, and return its exit code."""
    process = _SERVER.Process(target=target, args=arguments)
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode


def check_readable(path: Path, expected: dict[str, list[int]]) -> int:
    """Check what readers see of a run in any state; return the number of cells."""
    if not (path / "spec.json").exists():
        return 0
    store = RunStore(path)
    cells, windows = store.scan_cells().collect(), store.scan_windows().collect()
    globbed = [(path / table, list((path / table).glob("*.parquet"))) for table in ("cells", "windows")]
    plain = [pl.read_parquet(folder / "*.parquet") if files else cells.clear() for folder, files in globbed]

    assert cells["cell_id"].is_unique().all()
    assert cells.height % 4 == 0, "a batch has four cells, and appears whole"
    for row in cells.select("cell_id", "exits").iter_rows():
        assert expected[row[0]][0] == row[1]
    assert windows.group_by("cell_id").len()["len"].to_list() == [WINDOWS] * cells.height
    assert plain[0]["cell_id"].is_unique().all()
    assert set(plain[0]["cell_id"]) <= set(plain[1]["cell_id"])
    assert set(plain[0]["cell_id"]) <= store.finished_cells()
    return cells.height


def finish_and_compare(path: Path, batches: int, whole: RunStore) -> None:
    """Take the run up again, and check that it ends as if nothing had happened."""
    write_run(path, batches)

    store = RunStore(path)
    assert bytes_of(store) == bytes_of(whole)
    assert store.orphans() == []
    assert [entry.name for entry in store.manifest.committed()] == [e.name for e in whole.manifest.committed()]


def whole_run(path: Path, batches: int) -> tuple[RunStore, dict[str, list[int]]]:
    """Write a run in peace; return it and the exits of each of its cells."""
    store = make_run(path, replicate_batches(batches), WINDOWS)
    compact(store, roll_rows=50)
    rows = store.scan_cells().select("cell_id", "exits").collect().iter_rows()
    return store, {cell_id: [exits] for cell_id, exits in rows}


def test_a_kill_at_any_time_loses_no_finished_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After SIGKILL at thirty random times readers see whole batches, and the same command ends as if undisturbed."""
    batches = 3
    whole, expected = whole_run(tmp_path / "whole", batches)
    _SERVER.set_forkserver_preload(PRELOADED)
    run_writer(write_run, tmp_path / "warm", batches)
    start = time.perf_counter()
    assert run_writer(write_run, tmp_path / "timed", batches) == 0
    undisturbed = time.perf_counter() - start
    delays = np.random.default_rng(2011).uniform(0.0, undisturbed, KILLS)

    monkeypatch.setattr(os, "fsync", no_wait)
    for i, delay in enumerate(delays):
        run_writer(write_run, tmp_path / f"{i}", batches, seconds=delay)
        check_readable(tmp_path / f"{i}", expected)
        finish_and_compare(tmp_path / f"{i}", batches, whole)


def test_a_crash_before_any_step_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that dies before a sync, link, rename or unlink, whichever, leaves a run that ends well."""
    monkeypatch.setattr(os, "fsync", no_wait)
    batches = 2
    whole, expected = whole_run(tmp_path / "whole", batches)
    _SERVER.set_forkserver_preload(PRELOADED)

    step, died, seen = 0, True, set()
    while died:
        died = run_writer(write_until_step, tmp_path / f"{step}", batches, step) == -signal.SIGKILL
        seen.add(check_readable(tmp_path / f"{step}", expected))
        finish_and_compare(tmp_path / f"{step}", batches, whole)
        step += 1

    assert step > 30
    assert seen == {0, 4, 8}
