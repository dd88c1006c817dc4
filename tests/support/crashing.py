"""Writers that die, and what every reader must see afterwards; for tests/support/dying.py."""

import errno
import hashlib
import itertools
import os
import resource
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import duckdb
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from engine.vocabulary import COUNTER_INDEX
from results.store.columns import TABLES
from results.store.rows import failures_table
from results.store.run_store import RunStore
from results.upkeep.compaction import compact
from tests.support.synthetic import PROVENANCE, SPEC, failed, replicate_batches, totals_of, windows_of, write_batch

WINDOWS: Final = 3
CELLS: Final = 4
"""Cells of a batch."""
ROWS: Final = {"windows": WINDOWS, "activities": 1}
"""Table -> how many rows each cell has there."""
STEPS: Final = ("link", "replace", "unlink")
DISK_FULL: Final = errno.ENOSPC
"""Exit code of a writer for which there was no room."""
COLUMNS: Final = ["cell_id", "exits"]

Expected = Mapping[str, int]


def write_run(location: str | Path, batches: int) -> None:
    """Do what a driver does, as often as needed: take up the run, write what is missing, compact.

    The last cell of each batch fails before it succeeds.
    """
    # A killed process loses nothing that it gave to the system, so waiting for the disk would prove nothing.
    os.fsync = no_wait
    store = RunStore(location)
    store.create(SPEC, PROVENANCE)
    store.remove_orphans()
    finished = store.finished_cells()
    for name, cells in replicate_batches(batches):
        if cells[0].cell_id not in finished:
            store.record_failures(name, failures_table(cells[-1:], failed("at first")))
            store.commit(write_batch(store, name, cells, WINDOWS, activities=True))
    compact(store, roll_rows=20)


def no_wait(_descriptor: Any) -> None:
    """Do not wait for the disk."""


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
        setattr(os, name, counted(getattr(os, name)))
    write_run(path, batches)


def write_until_byte(path: Path, batches: int, size: int) -> None:
    """Write the run, but die in the middle of the first file that gets longer than `size`."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    write_run(path, batches)


def write_while_there_is_room(path: Path, batches: int) -> int:
    """Write the run; return an exit code of its own if the disk is full."""
    try:
        write_run(path, batches)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return DISK_FULL
    return 0


def expected_exits(batches: int) -> Expected:
    """Return the exits of each cell of the run, by what the batches are made of."""
    index = COUNTER_INDEX["exits"]
    return {
        one.cell_id: int(totals_of(windows_of(cells, WINDOWS))[lane, index])
        for _, cells in replicate_batches(batches)
        for lane, one in enumerate(cells)
    }


READERS: Final[dict[str, Callable[[Path], pl.DataFrame]]] = {
    "polars": lambda folder: pl.read_parquet(folder / "*.parquet", columns=COLUMNS),
    "duckdb": lambda folder: duckdb.connect().sql(f"select cell_id, exits from '{folder}/*.parquet'").pl(),
    "pandas": lambda folder: pl.from_pandas(pd.read_parquet(folder, columns=COLUMNS)),
    "pyarrow": lambda folder: pl.DataFrame(ds.dataset(folder, format="parquet").to_table(columns=COLUMNS)),
}
"""Programs that read a folder of a run by a plain glob, and know nothing of manifests."""


def state_of(path: Path) -> str:
    """Return a hash of the names and bytes of all that a reader may open in a run."""
    digest = hashlib.sha256()
    files = [file for file in path.glob("*/*") if file.suffix in {".json", ".parquet"}]
    for file in sorted([*files, *path.glob("*.parquet"), *path.glob("spec.json")]):
        digest.update(f"{file.relative_to(path)} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def batches_seen(path: Path, expected: Expected) -> int:
    """Check what all readers see of a run in any state; return the number of batches that count.

    Batches are written in the order of their replicates, so those that count are the first ones.
    """
    store = RunStore(path)
    if not store.exists():
        return 0
    cells = store.scan("cells").select("replicate", *COLUMNS).collect()
    batches = cells.height // CELLS

    assert sorted(cells["replicate"]) == [r for r in range(batches) for _ in range(CELLS)]
    assert {cell: exits for _, cell, exits in cells.iter_rows()}.items() <= expected.items()
    for table, rows in ROWS.items():
        assert rows_by_cell(store.scan(table).select(COLUMNS).collect()) == dict.fromkeys(cells["cell_id"], rows)
    assert store.finished_cells() == set(cells["cell_id"])
    # Of a batch that is being written there may be the failure, whole, and nothing of one that counts.
    waiting = [fields["replicate"] for fields in store.failures().collect().to_dicts()]
    assert waiting in ([], [batches])
    check_globs(path, dict(cells.select(COLUMNS).iter_rows()))
    return batches


def check_globs(path: Path, ours: Expected) -> None:
    """Check that every file in the tables is whole, and that each reader sees committed cells, once, with all rows."""
    files = {table: sorted((path / table).glob("*.parquet")) for table in TABLES}
    for file in itertools.chain(*files.values()):
        pq.read_table(file)
    if not files["cells"]:
        return
    for name, read in READERS.items():
        cells = read(path / "cells")

        assert cells["cell_id"].is_unique().all(), name
        assert dict(cells.iter_rows()).items() <= ours.items(), name
        for table, rows in ROWS.items():
            seen = rows_by_cell(read(path / table))
            assert {cell: seen.get(cell) for cell in cells["cell_id"]} == dict.fromkeys(cells["cell_id"], rows), name


def rows_by_cell(rows: pl.DataFrame) -> dict[str, int]:
    """Return how many rows each cell has."""
    return dict(rows.group_by("cell_id").len().iter_rows())
