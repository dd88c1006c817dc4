"""How long each cell took, and which one it is, in sixteen bytes: names of traces and policies are numbers here."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from results.statistics.numbered_rows import (
    PLACE,
    TRACE,
    Cells,
    Flags,
    Numbers,
    Piece,
    Times,
    changes,
    named_groups,
    ordinals,
)

_PAIR: Final = ("workload", "guest", "replicate")
_STEP_CELLS: Final = 1 << 16
"""Cells that are looked at together: their numbers stay in the processor's cache."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Numbered:
    """A piece, and what its own numbers are among those of all pieces."""

    cells: Cells
    trace: Numbers
    policy: Numbers

    def steps(self) -> Iterator[Cells]:
        """Yield the cells, some at a time, by the numbers of the piece."""
        for start in range(0, len(self.cells.trace), _STEP_CELLS):
            yield self.cells[start : start + _STEP_CELLS]

    def spelled(self) -> Iterator[Cells]:
        """Yield the cells, some at a time, by the numbers of all."""
        for cells in self.steps():
            yield replace(cells, trace=self.trace[cells.trace], policy=self.policy[cells.policy])


@dataclass(frozen=True, slots=True, kw_only=True)
class CellTimes:
    """The elapsed times of cells in the order of their traces and policies, whatever order they came in."""

    traces: pl.DataFrame
    """`TRACE` of each trace, in order."""
    place: npt.NDArray[np.int64]
    """Of each trace, the number of its `PLACE`."""
    policies: tuple[str, ...]
    """In order."""
    pieces: tuple[_Numbered, ...]

    @classmethod
    def of(cls, pieces: Sequence[Piece]) -> Self:
        """Return the cells of all pieces; there is one at least."""
        pieces = [piece for piece in pieces if len(piece.cells.trace)]
        policies = sorted({name for piece in pieces for name in piece.policies})
        listed = pl.concat([piece.traces for piece in pieces])
        ranked = listed.select(pl.struct(TRACE).rank("dense")).to_series().to_numpy()
        _, first, rank = np.unique(ranked, return_index=True, return_inverse=True)
        ends = np.cumsum([piece.traces.height for piece in pieces])
        numbered = [
            _Numbered(
                cells=piece.cells,
                trace=trace,
                policy=np.searchsorted(policies, piece.policies),
            )
            for piece, trace in zip(pieces, np.split(rank, ends[:-1]), strict=True)
        ]
        numbered.sort(key=lambda piece: int(piece.trace[0]))
        traces = listed[first]
        found = cls(
            traces=traces,
            place=ordinals(changes(traces, PLACE)),
            policies=tuple(policies),
            pieces=tuple(numbered),
        )
        trace = np.concatenate([piece.trace for piece in numbered])
        ordered = bool((trace[1:] > trace[:-1]).all()) and all(piece.is_ordered() for piece in pieces)
        return found if ordered else found._ordered()

    def _ordered(self) -> Self:
        """Return the cells in order, those that came in pieces as one each."""
        cells = [cells for piece in self.pieces for cells in piece.spelled()]
        key = np.concatenate([one.trace * len(self.policies) + one.policy for one in cells])
        order = np.argsort(key, kind="stable")
        starts = np.flatnonzero(np.diff(key[order], prepend=-1))
        trace, policy = np.divmod(key[order][starts], len(self.policies))
        elapsed = np.concatenate([one.elapsed_ns for one in cells])[order]
        whole = Cells(trace=trace, policy=policy, elapsed_ns=np.add.reduceat(elapsed, starts))
        piece = _Numbered(cells=whole, trace=np.arange(self.traces.height), policy=np.arange(len(self.policies)))
        return replace(self, pieces=(piece,))

    def counts(self) -> pl.DataFrame:
        """Return `PLACE`, policy and the number of cells as `replicates`."""
        counts = np.zeros(self._groups(), dtype=np.int64)
        for piece in self.pieces:
            for _, group in self._grouped(piece):
                counts += np.bincount(group, minlength=len(counts))
        return self._found(counts, replicates=counts)

    def differences(self, baseline: str) -> pl.DataFrame:
        """Return `PLACE`, policy, mean, deviation and count of the differences to a policy on the same trace in %.

        Groups without a pair are left out. Values are added up one by one in the order of the cells, so that neither
        a thread nor how cells are spread over files decides a digit.
        """
        base = self._times_of(baseline)
        counts = np.zeros(self._groups(), dtype=np.int64)
        near, sums, squares = np.full(len(counts), np.nan), np.zeros(len(counts)), np.zeros(len(counts))
        for group, difference in self._pairs(base):
            # What is summed up is the distance to the first value of each group, whose square cancels out little.
            first = near[group]
            new = np.isnan(first)
            if new.any():
                near[group[new][::-1]] = difference[new][::-1]
                first = near[group]
            distance = difference - first
            counts += np.bincount(group, minlength=len(counts))
            np.add.at(sums, group, distance)
            np.add.at(squares, group, np.square(distance))
        mean = np.where(counts > 0, near, 0.0) + sums / np.maximum(counts, 1)
        variance = (squares - np.square(sums) / np.maximum(counts, 1)) / np.maximum(counts - 1, 1)
        deviation = np.sqrt(np.maximum(variance, 0.0))
        found = self._found(counts, mean=mean, deviation=deviation, count=counts)
        return found.with_columns(deviation=pl.when(pl.col("count") > 1).then("deviation"))

    def unlike(self, baseline: str) -> pl.DataFrame:
        """Return the cells, as `named` does, of replicates that met several traces, the baseline among them."""
        several = self.traces.select(pl.struct(_PAIR).is_duplicated()).to_series()
        chosen = several.to_numpy(writable=True)
        if chosen.any():
            there = pl.Series(np.isfinite(self._times_of(baseline)))
            pairs = self.traces.filter(several & there).select(_PAIR).unique()
            numbers = self.traces.with_row_index("trace").join(pairs, on=_PAIR, how="semi")["trace"]
            chosen[:] = False
            chosen[numbers] = True
        return self.named(chosen)

    def only(self, workloads: Sequence[str], policies: Sequence[str]) -> pl.DataFrame:
        """Return the cells of some workloads and policies, as `named` does."""
        return self.named(self.traces["workload"].is_in(workloads).to_numpy(), policies)

    def named(self, traces: Flags, policies: Sequence[str] | None = None) -> pl.DataFrame:
        """Return the cells of some traces, and of some policies or all, with the names of both and elapsed_ns."""
        if not traces.any():
            return self._spelled(next(self.pieces[0].spelled())[:0])
        of_policy = np.array([policies is None or name in policies for name in self.policies], dtype=np.bool_)
        every = (cells for piece in self.pieces for cells in piece.spelled())
        return pl.concat([self._spelled(cells[traces[cells.trace] & of_policy[cells.policy]]) for cells in every])

    def _spelled(self, cells: Cells) -> pl.DataFrame:
        return self.traces[cells.trace].with_columns(
            policy=pl.Series(self.policies, dtype=pl.String)[cells.policy],
            elapsed_ns=cells.elapsed_ns,
        )

    def _times_of(self, policy: str) -> Floats:
        """Return the elapsed time of one policy on each trace; not a number where it has none."""
        times = np.full(self.traces.height, np.nan)
        number = self.policies.index(policy)
        for piece in self.pieces:
            for own in np.flatnonzero(piece.policy == number).tolist():
                its = piece.cells[piece.cells.policy == own]
                times[piece.trace[its.trace]] = its.elapsed_ns
        return times

    def _pairs(self, base: Floats) -> Iterator[tuple[npt.NDArray[np.int64], Floats]]:
        """Yield the groups of some cells, and in % how much longer than `base` on the same trace they took."""
        for piece in self.pieces:
            own = base[piece.trace]
            paired = own > 0.0
            for cells, group in self._grouped(piece):
                there = slice(None) if paired.all() else paired[cells.trace]
                some = cells[there]
                yield group[there], 100.0 * (some.elapsed_ns / own[some.trace] - 1.0)

    def _grouped(self, piece: _Numbered) -> Iterator[tuple[Cells, npt.NDArray[np.int64]]]:
        """Yield some cells by the numbers of the piece, and their groups, numbered by place and policy."""
        first = self.place[piece.trace] * len(self.policies)
        for cells in piece.steps():
            yield cells, first[cells.trace] + piece.policy[cells.policy]

    def _groups(self) -> int:
        return int(self.place[-1] + 1) * len(self.policies) if len(self.place) else 0

    def _found(self, counts: Times, **values: npt.NDArray[Any]) -> pl.DataFrame:
        places = self.traces.filter(changes(self.traces, PLACE)).select(PLACE)
        groups = np.flatnonzero(counts)
        return named_groups(places, self.policies, groups, **{name: value[groups] for name, value in values.items()})
