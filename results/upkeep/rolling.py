"""Rows of many sorted parts as a few large ones: in one order, cut after whole cells, one file in memory at a time.

What the order needs of a cell – its place among the names, a digest of its id, where it is – takes some 60 bytes while
it is found and 28 from then on; that is all that grows with a run.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from hashlib import blake2b
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from results.store.cell_ids import came_before
from results.store.columns import SORT_KEYS
from results.store.parts import read_rows
from results.store.schema import upgraded
from results.store.storage import Storage

ROLL_ROWS: Final = 500_000
"""Rows in a file: some 400 MB in memory while it is made, 20 to 60 MB on disk."""
_NAMES: Final = ("workload", "guest", "replicate", "policy")
"""What orders cells before their ids do."""
_DIGEST_BYTES: Final = 16
"""As many as a cell's id has itself."""

Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.integer[Any]]
Ranks = Mapping[str, Mapping[object, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One part of some run."""

    storage: Storage
    name: str

    def rows(self, columns: list[str] | None = None) -> pa.Table:
        """Return its rows, all columns or some."""
        return read_rows(self.storage, self.name, columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """The cells of one table in sort order."""

    digest: npt.NDArray[np.uint64]
    """`digest[cell]`: two halves of a hash of its id."""
    rows: Numbers
    """How many rows it has in the table."""
    source: Numbers
    number: Numbers
    """Which of the cells of its source it is."""

    def __getitem__(self, chosen: "Indices | Flags | slice") -> Self:
        return type(self)(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    def first_of_each(self) -> Self:
        """Return the cells without those whose id came before."""
        return self[~came_before(self.digest)]

    def twice(self) -> Self:
        """Return the cells whose id came before."""
        return self[came_before(self.digest)]


def cells_in_order(sources: Sequence[Source]) -> Cells:
    """Return the cells of one table, as `SORT_KEYS` orders them."""
    assert SORT_KEYS["cells"] == (*_NAMES, "cell_id")
    ranks = _ranks(sources)
    found = [_cells_of(source, index, ranks) for index, source in enumerate(sources)]
    place = np.concatenate([one.pop("place") for one in found])
    order = np.argsort(place, kind="stable")
    place = place[order]
    # Column by column, so that no more than one of them is there twice.
    cells = Cells(
        **{field.name: np.concatenate([one.pop(field.name) for one in found])[order] for field in fields(Cells)}
    )
    other_id = (place[1:] == place[:-1]) & (cells.digest[1:] != cells.digest[:-1]).any(axis=1)
    if not other_id.any():
        return cells
    unclear = np.flatnonzero(np.isin(place, place[1:][other_id]))
    order = np.arange(len(place))
    order[unclear] = unclear[np.lexsort((ids_of(cells[unclear], sources), place[unclear]))]
    return cells[order]


def ids_of(cells: Cells, sources: Sequence[Source]) -> npt.NDArray[np.str_]:
    """Return the ids of some cells; their files are read again."""
    ids = np.empty(len(cells.rows), dtype=object)
    for source in np.unique(cells.source).tolist():
        column = sources[source].rows(["cell_id"])["cell_id"].combine_chunks()
        chosen = cells.source == source
        first = np.flatnonzero(_starts(column))[cells.number[chosen]]
        ids[chosen] = column.take(pa.array(first)).to_pylist()
    return ids.astype(np.str_)


def _ranks(sources: Sequence[Source]) -> Ranks:
    """Return for each name the rank of each of its values."""
    values: dict[str, set[object]] = {name: set() for name in _NAMES}
    for source in sources:
        rows = source.rows(list(_NAMES))
        for name in _NAMES:
            values[name].update(rows[name].unique().to_pylist())
    return {name: {value: rank for rank, value in enumerate(sorted(values[name], key=_sorts))} for name in _NAMES}


def _cells_of(source: Source, index: int, ranks: Ranks) -> dict[str, npt.NDArray[Any]]:
    """Return the columns of `Cells` for one source, and the place of each cell among all names."""
    keys = source.rows([*_NAMES, "cell_id"])
    ids = keys["cell_id"].combine_chunks()
    # A part is sorted, so the rows of a cell follow each other.
    first = np.flatnonzero(_starts(ids))
    place = np.zeros(len(first), dtype=np.int64)
    for name in _NAMES:
        column = keys[name].combine_chunks().take(pa.array(first)).dictionary_encode()
        rank = np.array([ranks[name][value] for value in column.dictionary.to_pylist()], dtype=np.int64)
        place = place * max(1, len(ranks[name])) + rank[column.indices.to_numpy()]
    named = ids.take(pa.array(first)).to_pylist()
    digests = b"".join([blake2b(one.encode(), digest_size=_DIGEST_BYTES).digest() for one in named])
    return {
        "place": place,
        "digest": np.frombuffer(digests, dtype=np.uint64).reshape(len(first), 2),
        "rows": np.diff(first, append=len(ids)).astype(np.int32),
        "source": np.full(len(first), index, dtype=np.int32),
        "number": np.arange(len(first), dtype=np.int32),
    }


def _starts(ids: pa.StringArray) -> Flags:
    """Return for each row whether it is the first one of its cell."""
    starts = np.ones(len(ids), dtype=np.bool_)
    starts[1:] = pc.not_equal(ids.slice(1), ids.slice(0, max(0, len(ids) - 1))).to_numpy(zero_copy_only=False)
    return starts


def _sorts(value: object) -> tuple[int, str]:
    return (value, "") if isinstance(value, int) else (0, str(value))


def roll(table: str, sources: Sequence[Source], cells: Cells, *, roll_rows: int = ROLL_ROWS) -> Iterator[pa.Table]:
    """Yield the rows of `cells` of one table, file by file, with the columns of the present schema."""
    for start, end in itertools.pairwise(_edges(cells, roll_rows)):
        chosen = cells[slice(start, end)]
        yield pa.concat_tables(
            upgraded(table, _rows_of(sources[source], chosen[chosen.source == source]))
            for source in np.unique(chosen.source).tolist()
        )


def _edges(cells: Cells, roll_rows: int) -> list[int]:
    """Return the first cell of each file, and one more than the last one."""
    before = np.cumsum(cells.rows, dtype=np.int64) - cells.rows
    files = before // roll_rows
    return np.flatnonzero(np.diff(files, prepend=-1, append=files[-1:] + 1)).tolist() if len(files) else []


def _rows_of(source: Source, cells: Cells) -> pa.Table:
    rows = source.rows()
    if rows.num_rows == cells.rows.sum():
        return rows
    number = np.cumsum(_starts(rows["cell_id"].combine_chunks())) - 1
    chosen = np.zeros(rows.num_rows, dtype=np.bool_)
    chosen[cells.number] = True
    return rows.filter(pa.array(chosen[number]))
