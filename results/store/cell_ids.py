"""Many cell ids in little memory: 32 bytes each, where a Python set of strings takes some 150."""

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Self

import numpy as np
import numpy.typing as npt

Fixed = npt.NDArray[np.bytes_]


class CellIds(AbstractSet[str]):
    """A set of cell ids as one sorted array of fixed width; `holds` answers for many at once."""

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self._ids: Fixed = np.unique(fixed(list(ids)))

    @classmethod
    def joined(cls, arrays: Sequence[Fixed]) -> Self:
        """Return the set of all ids in `arrays`."""
        made = cls()
        if arrays:
            made._ids = np.unique(np.concatenate(arrays))
        return made

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[str]:
        return (one.decode() for one in self._ids)

    def __contains__(self, cell_id: object) -> bool:
        return isinstance(cell_id, str) and bool(self.holds([cell_id])[0])

    def holds(self, ids: Sequence[str] | Fixed) -> npt.NDArray[np.bool_]:
        """Return for each id whether it is in the set."""
        asked = fixed(ids)
        if not len(self._ids):
            return np.zeros(len(asked), dtype=np.bool_)
        place = np.searchsorted(self._ids, asked)
        place[place == len(self._ids)] = 0
        found: npt.NDArray[np.bool_] = self._ids[place] == asked
        return found


def came_before(digests: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Return for each digest, given as halves `[digest, 2]`, whether the same one has come before it."""
    again = np.zeros(len(digests), dtype=np.bool_)
    # Numbers are sorted in a tenth of the time of texts, and almost always no two first halves are the same.
    halves = np.sort(digests[:, 0])
    shared = halves[1:][halves[1:] == halves[:-1]]
    if len(shared):
        cells = np.flatnonzero(np.isin(digests[:, 0], shared))
        _, first = np.unique(digests[cells], axis=0, return_index=True)
        again[cells] = True
        again[cells[first]] = False
    return again


def fixed(ids: Sequence[str] | Fixed) -> Fixed:
    """Return ids as an array of bytes; they are ASCII."""
    return np.array(ids, dtype=np.bytes_) if len(ids) else np.empty(0, dtype="S1")
