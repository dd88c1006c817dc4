"""Rows of many sorted parts as a few large ones: in one order, cut after whole cells, one file in memory at a time.

What the order needs of a cell – its id, where its names stand among all names, its file – takes some 60 bytes; that is
all that grows with a run.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from results.cell_ids import Fixed, fixed
from results.columns import SORT_KEYS
from results.parts import read_rows
from results.schema import upgraded
from results.storage import Storage

ROLL_ROWS: Final = 500_000
"""Rows in a file: some 400 MB in memory while it is made, 20 to 60 MB on disk."""
_NAMES: Final = ("workload", "guest", "replicate", "policy")
"""What orders cells before their ids do."""

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One part of some run."""

    storage: Storage
    name: str

    def rows(self, columns: list[str] | None = None) -> pa.Table:
        """Return its rows, all columns or some."""
        return read_rows(self.storage.open(self.name), self.storage.locate(self.name), columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """The cells of one table in sort order: id, how many rows it has there, and in which source."""

    ids: Fixed
    rows: Indices
    source: Indices

    def __getitem__(self, chosen: "Indices | npt.NDArray[np.bool_] | slice") -> Self:
        return type(self)(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    def twice(self) -> list[str]:
        """Return the ids that are there more than once."""
        ordered = np.sort(self.ids)
        return [one.decode() for one in np.unique(ordered[1:][ordered[1:] == ordered[:-1]])]

    def first_of_each(self) -> Self:
        """Return the cells without those whose id came before."""
        _, first = np.unique(self.ids, return_index=True)
        return self[np.sort(first)]


def cells_in_order(sources: Sequence[Source]) -> Cells:
    """Return the cells of one table, as `SORT_KEYS` orders them."""
    assert SORT_KEYS["cells"] == (*_NAMES, "cell_id")
    codes: dict[str, list[Indices]] = {name: [] for name in _NAMES}
    values: dict[str, dict[object, int]] = {name: {} for name in _NAMES}
    ids: list[Fixed] = []
    counts: list[Indices] = []
    for source in sources:
        keys = source.rows([*_NAMES, "cell_id"])
        found = keys["cell_id"].combine_chunks().dictionary_encode()
        # A part is sorted, so the rows of a cell follow each other, and ids are numbered as they come.
        first, rows = np.unique(found.indices.to_numpy(), return_index=True, return_counts=True)[1:]
        ids.append(fixed(found.dictionary.to_pylist()))
        counts.append(rows.astype(np.int64))
        for name in _NAMES:
            codes[name].append(_codes(keys[name].take(pa.array(first)), values[name]))
    source_of = np.repeat(np.arange(len(sources)), [len(one) for one in ids])
    place = _places(codes, values)
    joined = np.concatenate(ids)
    order = np.lexsort((joined, place))
    return Cells(ids=joined[order], rows=np.concatenate(counts)[order], source=source_of[order])


def _codes(column: pa.ChunkedArray, known: dict[object, int]) -> Indices:
    """Return a number for each value: the same one for the same value, as `known` has it or gets it."""
    encoded = column.combine_chunks().dictionary_encode()
    numbers = [known.setdefault(value, len(known)) for value in encoded.dictionary.to_pylist()]
    found: Indices = np.array(numbers, dtype=np.int64)[encoded.indices.to_numpy()]
    return found


def _places(codes: dict[str, list[Indices]], values: dict[str, dict[object, int]]) -> Indices:
    """Return one number per cell that orders cells as their names do."""
    place = np.zeros(sum(map(len, codes[_NAMES[0]])), dtype=np.int64)
    for name in _NAMES:
        known = values[name]
        rank = np.empty(len(known), dtype=np.int64)
        rank[[known[value] for value in sorted(known, key=_sorts)]] = np.arange(len(known))
        place = place * max(1, len(known)) + rank[np.concatenate(codes[name])]
    return place


def _sorts(value: object) -> tuple[int, str]:
    return (value, "") if isinstance(value, int) else (0, str(value))


def roll(table: str, sources: Sequence[Source], cells: Cells, *, roll_rows: int = ROLL_ROWS) -> Iterator[pa.Table]:
    """Yield the rows of `cells` of one table, file by file, with the columns of the present schema."""
    before = np.cumsum(cells.rows) - cells.rows
    file_of_cell = before // roll_rows
    edges: Sequence[int] | Indices = []
    if len(before):
        edges = np.flatnonzero(np.diff(file_of_cell, prepend=-1, append=file_of_cell[-1:] + 1))
    for start, end in itertools.pairwise(edges):
        chosen = cells[slice(int(start), int(end))]
        found = [
            upgraded(table, _rows_of(sources[source], chosen[chosen.source == source]))
            for source in np.unique(chosen.source).tolist()
        ]
        yield pa.concat_tables(found)


def _rows_of(source: Source, cells: Cells) -> pa.Table:
    rows = source.rows()
    if rows.num_rows == cells.rows.sum():
        return rows
    return rows.filter(pc.is_in(rows["cell_id"], pa.array(cells.ids.astype(np.str_), pa.string())))
