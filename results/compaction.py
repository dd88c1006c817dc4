"""Many small parts into a few sorted ones, at the end of a run: the same bytes whatever order they were written in.

Rows of all parts are ordered by `SORT_KEYS` and cut after whole cells, so the files depend on the cells alone: not on
the backend, the workers, the order of the commits or earlier compactions.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from results.columns import SORT_KEYS
from results.manifest import ManifestEntry, StoreError
from results.parts import PART_TABLES, Part, encode_part, read_rows
from results.store import RunStore

ROLL_ROWS: Final = 500_000
"""Rows of windows in a file: about 200 MB in memory, 20 to 60 MB on disk."""


def compact(store: RunStore, roll_rows: int = ROLL_ROWS) -> ManifestEntry | None:
    """Replace the parts of a finished run by rolled, sorted ones; return the new commit, or None if nothing changes.

    The commit is one manifest entry that names those it replaces: a crash before it changes nothing, a crash after it
    is finished by the next `RunStore.create`. A reader that has opened files before the compaction gets an error that
    names the missing file, never wrong rows. Only for a driver, while none of its workers is writing.
    """
    live = store.manifest.live()
    if not live:
        return None
    staged = [part for table in PART_TABLES for part in _roll(store, table, roll_rows)]
    parts = tuple(sorted(staged, key=lambda part: (part.table, part.name)))
    replaces = {entry.name: entry.digest() for entry in live}
    name = "compacted-" + _digest(parts)
    if replaces.keys() == {name}:
        _discard(store, parts)
        return None
    entry = ManifestEntry(name=name, parts=parts, replaces=replaces)
    store.manifest.add(entry)
    store.manifest.finish()
    return entry


def _roll(store: RunStore, table: str, roll_rows: int) -> Iterator[Part]:
    """Stage the sorted files of one table; memory holds the rows of one file."""
    sources = store.manifest.files(table)
    if not sources:
        return
    cells = _cells_in_order(store, sources)
    before = np.cumsum(cells["rows"]) - cells["rows"].to_numpy()
    file_of_cell = before // roll_rows
    for index, file in enumerate(np.unique(file_of_cell)):
        chosen = cells.filter(pa.array(file_of_cell == file))
        found = [
            _rows_of_cells(store, sources[source], chosen.filter(pc.equal(chosen["source"], source)))
            for source in pc.unique(chosen["source"]).to_pylist()
        ]
        yield _stage(store, table, index, pa.concat_tables(found))


def _rows_of_cells(store: RunStore, source: str, cells: pa.Table) -> pa.Table:
    rows = read_rows(store.storage.open(source))
    if rows.num_rows == pc.sum(cells["rows"]).as_py():
        return rows
    return rows.filter(pc.is_in(rows["cell_id"], cells["cell_id"].combine_chunks()))


def _cells_in_order(store: RunStore, sources: Sequence[str]) -> pa.Table:
    """Return the cells of one table in sort order: keys, rows, and the index of the file that holds them."""
    keys = list(SORT_KEYS["cells"])
    tables = []
    for index, source in enumerate(sources):
        rows = read_rows(store.storage.open(source), keys)
        cells = rows.group_by(keys, use_threads=False).aggregate([([], "count_all")])
        place = pa.array([index] * cells.num_rows, pa.int64())
        tables.append(cells.rename_columns([*keys, "rows"]).append_column("source", place))
    ordered = pa.concat_tables(tables).combine_chunks().sort_by([(key, "ascending") for key in keys])
    twice = [entry["values"] for entry in ordered["cell_id"].value_counts().to_pylist() if entry["counts"] > 1]
    if twice:
        raise StoreError(
            f"{store.name}: {len(twice)} cells are in two batches, such as {twice[0]}. Run into a new folder"
        )
    return ordered


def _stage(store: RunStore, table: str, index: int, rows: pa.Table) -> Part:
    part, content = encode_part(rows, table, f"part-{index:04d}", store.footer())
    store.stage(part, content)
    return part


def _digest(parts: tuple[Part, ...]) -> str:
    return ManifestEntry(name="compacted", parts=parts).digest()[:16]


def _discard(store: RunStore, parts: tuple[Part, ...]) -> None:
    if store.storage.stages:
        for part in parts:
            store.storage.delete(store.manifest.staged(part))
