"""Many small parts into a few sorted ones, at the end of a run: the same bytes whatever order they were written in.

Rows of all parts are ordered by `SORT_KEYS` and cut after whole cells, so the files depend on the cells alone: not on
the backend, the workers, the order of the commits or earlier compactions.
"""

from collections.abc import Iterator, Sequence

from results.store.manifest import ManifestEntry
from results.store.parts import PART_TABLES, Part, encode_part
from results.store.run_store import RunStore
from results.store.storage import StoreError
from results.upkeep.rolling import ROLL_ROWS, Cells, Source, cells_in_order, ids_of, roll
from results.wording import counted


def compact(store: RunStore, roll_rows: int = ROLL_ROWS) -> ManifestEntry | None:
    """Replace the parts of a finished run by rolled, sorted ones; return the new commit, or None if nothing changes.

    The commit is one manifest entry that names those it replaces: a crash before it changes nothing, a crash after it
    is finished by the next `RunStore.create`. A reader that has opened files before the compaction gets an error that
    names the missing file, never wrong rows. Only for a driver, while none of its workers is writing.
    """
    from results.store.labels import (
        note_plain_labels,  # It reads with polars, which a worker that only writes never loads.
    )

    live = store.manifest.live()
    if not live:
        return None
    staged = [part for table in PART_TABLES for part in _rolled(store, table, roll_rows)]
    parts = in_order(staged)
    replaces = {entry.name: entry.digest() for entry in live}
    name = compacted_name(parts)
    if replaces.keys() == {name}:
        _discard(store, parts)
        note_plain_labels(store)
        return None
    entry = ManifestEntry(name=name, parts=parts, replaces=replaces)
    store.manifest.add(entry)
    store.manifest.finish()
    note_plain_labels(store)
    return entry


def finish_run(store: RunStore) -> None:
    """Carry out what a driver that died between its last commit and the end of its compaction has left undone."""
    store.manifest.finish()
    if len(store.manifest.live()) > 1:
        compact(store)
    store.remove_orphans()


def _rolled(store: RunStore, table: str, roll_rows: int) -> Iterator[Part]:
    sources = [Source(storage=store.storage, name=name) for name in store.manifest.files(table)]
    if not sources:
        return
    cells = cells_in_order(sources)
    twice = cells.twice()
    if len(twice.rows):
        found = counted(len(twice.rows), "cell is", "cells are")
        raise StoreError(
            f"{store.name}: {found} in two batches, such as {ids_of(twice[:1], sources)[0]}. Run into a new folder"
        )
    yield from stage_rolled(store, table, sources, cells, roll_rows=roll_rows)


def stage_rolled(
    store: RunStore, table: str, sources: Sequence[Source], cells: Cells, *, roll_rows: int = ROLL_ROWS
) -> Iterator[Part]:
    """Stage the sorted files of one table; memory holds the rows of one file."""
    footer = store.footer()
    for index, rows in enumerate(roll(table, sources, cells, roll_rows=roll_rows)):
        part, content = encode_part(rows, table, f"part-{index:04d}", footer)
        store.stage(part, content)
        yield part


def in_order(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Return parts as a commit lists them."""
    return tuple(sorted(parts, key=lambda part: (part.table, part.name)))


def compacted_name(parts: tuple[Part, ...]) -> str:
    """Return the name of a commit of rolled parts: it follows from their bytes."""
    return "compacted-" + ManifestEntry(name="compacted", parts=parts).digest()[:16]


def _discard(store: RunStore, parts: tuple[Part, ...]) -> None:
    if store.storage.stages:
        for part in parts:
            store.storage.delete(store.manifest.staged(part))
