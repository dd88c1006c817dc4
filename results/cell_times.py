"""How long each cell took, and which one it is, in sixteen bytes: names of traces and policies are numbers here.

Ten million cells are hashed, sorted and joined by texts in many seconds, by numbers in a fraction of one. Rows of
one cell or trace follow each other in every part, so only the first of them is looked at.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import polars as pl

PLACE: Final = ("workload", "guest", "vcpus", "memory_mib")
"""What the rows of a summary have in common beside the policy."""
TRACE: Final = (*PLACE, "replicate", "trace_digest")
_PAIR: Final = ("workload", "guest", "replicate")
_STEP_CELLS: Final = 1 << 18
"""Cells that are looked at together: their numbers stay in the processor's cache."""

Numbers = npt.NDArray[np.unsignedinteger[Any]]
Times = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Some cells; one may have its rows in several pieces."""

    traces: pl.DataFrame
    """`TRACE` where it changes, in the order of the rows: a trace may be there twice."""
    policies: tuple[str, ...]
    trace: Numbers
    """Of each cell, the row in `traces`."""
    policy: Numbers
    """Of each cell, the index in `policies`."""
    elapsed_ns: Times


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberedRows:
    """Rows of cells: one or several per cell, one after the other."""

    rows: pl.DataFrame
    place_starts: Flags
    """Of each row, whether it is the first one of its `PLACE`."""
    policies: tuple[str, ...]
    policy: Numbers
    """Of each row, the index in `policies`."""

    @classmethod
    def of(cls, rows: pl.DataFrame) -> Self:
        """Number the rows of a frame with the columns `PLACE` and policy."""
        names = rows["policy"].unique()
        policy = rows["policy"].cast(pl.Enum(names)).to_physical().to_numpy()
        return cls(rows=rows, place_starts=changes(rows, PLACE), policies=tuple(names), policy=policy)

    def sums(self, columns: Sequence[str]) -> pl.DataFrame:
        """Return `PLACE`, policy, sums of whole numbers, and the number of rows as `rows`; a group may come twice."""
        names = self.rows.select(PLACE).filter(self.place_starts)
        group = np.cumsum(self.place_starts, dtype=np.int64)
        group -= 1
        group *= len(self.policies)
        group += self.policy
        groups = np.arange(names.height * len(self.policies))
        if len(groups) > len(group):
            groups, group = np.unique(group, return_inverse=True)
        count = np.bincount(group, minlength=len(groups))
        sums = {column: np.zeros(len(groups), dtype=np.int64) for column in columns}
        for column, total in sums.items():
            np.add.at(total, group, self.rows[column].to_numpy())
        return _named(names, self.policies, groups, rows=count, **sums).filter(pl.col("rows") > 0)

    def piece(self) -> Piece:
        """Return the cells; rows have `TRACE` and elapsed_ns, too."""
        trace_starts = self.place_starts | changes(self.rows, TRACE[len(PLACE) :])
        cell_starts = trace_starts.copy()
        cell_starts[1:] |= self.policy[1:] != self.policy[:-1]
        starts = np.flatnonzero(cell_starts)
        trace = np.cumsum(trace_starts, dtype=np.uint32)
        trace -= 1
        elapsed = self.rows["elapsed_ns"].to_numpy()
        return Piece(
            traces=self.rows.select(TRACE).filter(trace_starts),
            policies=self.policies,
            trace=trace[starts],
            policy=self.policy[starts],
            elapsed_ns=np.add.reduceat(elapsed, starts) if len(starts) else elapsed,
        )


def changes(rows: pl.DataFrame, names: Sequence[str]) -> Flags:
    """Return for each row whether one of its values is not that of the row before; so is the first one."""
    if rows.is_empty():
        return np.zeros(0, dtype=np.bool_)
    differs = rows.select(pl.any_horizontal([pl.col(name).ne_missing(pl.col(name).shift()) for name in names]))
    found = differs.to_series().to_numpy(writable=True)
    found[0] = True
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class CellTimes:
    """The elapsed times of cells in the order of their traces and policies, whatever order they came in."""

    traces: pl.DataFrame
    """`TRACE` of each trace, in order."""
    place: npt.NDArray[np.int64]
    """Of each trace, the number of its `PLACE`."""
    policies: tuple[str, ...]
    """In order."""
    trace: Numbers
    """Of each cell, the row in `traces`."""
    policy: Numbers
    """Of each cell, the index in `policies`."""
    elapsed_ns: Times

    @classmethod
    def of(cls, pieces: Sequence[Piece]) -> Self:
        """Return the cells of all pieces."""
        policies = sorted({name for piece in pieces for name in piece.policies})
        ranks = {name: rank for rank, name in enumerate(policies)}
        listed = pl.concat([piece.traces for piece in pieces])
        ranked = listed.select(pl.struct(TRACE).rank("dense")).to_series().to_numpy()
        _, first, trace = np.unique(ranked, return_index=True, return_inverse=True)
        traces = listed[first]
        trace = trace.astype(np.uint32)
        ends = np.cumsum([piece.traces.height for piece in pieces]).tolist()
        starts = [0, *ends[:-1]]
        found = cls(
            traces=traces,
            place=np.cumsum(changes(traces, PLACE)) - 1,
            policies=tuple(policies),
            trace=np.concatenate([trace[start:][piece.trace] for start, piece in zip(starts, pieces, strict=True)]),
            policy=np.concatenate([_ranked(piece, ranks) for piece in pieces]),
            elapsed_ns=np.concatenate([piece.elapsed_ns for piece in pieces]),
        )
        return found._ordered()

    def _ordered(self) -> Self:
        """Return the cells in order, those that came in pieces as one each."""
        later, same = self.trace[1:] > self.trace[:-1], self.trace[1:] == self.trace[:-1]
        if bool((later | (same & (self.policy[1:] > self.policy[:-1]))).all()):
            return self
        key = self.trace.astype(np.int64) * len(self.policies) + self.policy
        order = np.argsort(key, kind="stable")
        starts = np.flatnonzero(np.diff(key[order], prepend=-1))
        first = order[starts]
        summed = np.add.reduceat(self.elapsed_ns[order], starts)
        return replace(self, trace=self.trace[first], policy=self.policy[first], elapsed_ns=summed)

    def counts(self) -> pl.DataFrame:
        """Return `PLACE`, policy and the number of cells as `replicates`."""
        counts = np.zeros(self._groups(), dtype=np.int64)
        for cells in self._steps():
            counts += np.bincount(self._group(cells), minlength=len(counts))
        return self._found(counts, replicates=counts)

    def differences(self, baseline: str) -> pl.DataFrame:
        """Return `PLACE`, policy, mean, deviation and count of the differences to a policy on the same trace in %.

        Groups without a pair are left out. Values are added up in one order, so that no thread decides a digit.
        """
        pairs = list(self._pairs(self._times_of(baseline)))
        counts = np.zeros(self._groups(), dtype=np.int64)
        sums, squares = np.zeros(len(counts)), np.zeros(len(counts))
        for group, difference in pairs:
            counts += np.bincount(group, minlength=len(counts))
            sums += np.bincount(group, difference, minlength=len(counts))
        mean = sums / np.maximum(counts, 1)
        for group, difference in pairs:
            squares += np.bincount(group, np.square(difference - mean[group]), minlength=len(counts))
        deviation = np.sqrt(squares / np.maximum(counts - 1, 1))
        found = self._found(counts, mean=mean, deviation=deviation, count=counts)
        return found.with_columns(deviation=pl.when(pl.col("count") > 1).then("deviation"))

    def unlike(self, baseline: str) -> pl.DataFrame:
        """Return the cells, as `named` does, of replicates that met several traces, the baseline among them."""
        several = self.traces.select(pl.struct(_PAIR).is_duplicated()).to_series()
        there = pl.Series(np.isfinite(self._times_of(baseline)))
        pairs = self.traces.filter(several & there).select(_PAIR).unique()
        return self.named(self.traces.with_row_index("trace").join(pairs, on=_PAIR, how="semi")["trace"])

    def only(self, workloads: Sequence[str], policies: Sequence[str]) -> pl.DataFrame:
        """Return the cells of some workloads and policies, as `named` does."""
        traces = self.traces.with_row_index("trace").filter(pl.col("workload").is_in(workloads))["trace"]
        return self.named(traces, policies)

    def named(self, traces: pl.Series, policies: Sequence[str] | None = None) -> pl.DataFrame:
        """Return the cells of some traces, and of some policies or all, with the names of both and elapsed_ns."""
        if traces.is_empty():
            return self._cells(np.zeros(0, dtype=np.int64))
        on_trace = np.zeros(self.traces.height, dtype=np.bool_)
        on_trace[traces.to_numpy()] = True
        of_policy = np.array([policies is None or name in policies for name in self.policies], dtype=np.bool_)
        return self._cells(np.flatnonzero(on_trace[self.trace] & of_policy[self.policy]))

    def _cells(self, chosen: npt.NDArray[np.int64]) -> pl.DataFrame:
        return self.traces[self.trace[chosen]].with_columns(
            policy=pl.Series(self.policies, dtype=pl.String)[self.policy[chosen]],
            elapsed_ns=self.elapsed_ns[chosen],
        )

    def _times_of(self, policy: str) -> Floats:
        """Return the elapsed time of one policy on each trace; not a number where it has none."""
        times = np.full(self.traces.height, np.nan)
        cells = np.flatnonzero(self.policy == self.policies.index(policy))
        times[self.trace[cells]] = self.elapsed_ns[cells]
        return times

    def _pairs(self, base: Floats) -> Iterator[tuple[npt.NDArray[np.int64], Floats]]:
        for cells in self._steps():
            with np.errstate(divide="ignore", invalid="ignore"):
                difference = 100.0 * (self.elapsed_ns[cells] / base[self.trace[cells]] - 1.0)
            paired = np.isfinite(difference)
            group = self._group(cells)
            yield (group, difference) if paired.all() else (group[paired], difference[paired])

    def _steps(self) -> Iterator[slice]:
        yield from (slice(start, start + _STEP_CELLS) for start in range(0, len(self.trace), _STEP_CELLS))

    def _groups(self) -> int:
        return int(self.place[-1] + 1) * len(self.policies) if len(self.place) else 0

    def _group(self, cells: slice) -> npt.NDArray[np.int64]:
        group: npt.NDArray[np.int64] = self.place[self.trace[cells]] * len(self.policies) + self.policy[cells]
        return group

    def _found(self, counts: Times, **values: npt.NDArray[Any]) -> pl.DataFrame:
        places = self.traces.filter(changes(self.traces, PLACE)).select(PLACE)
        groups = np.flatnonzero(counts)
        return _named(places, self.policies, groups, **{name: value[groups] for name, value in values.items()})


def _named(
    places: pl.DataFrame, policies: Sequence[str], groups: npt.NDArray[np.int64], **values: npt.NDArray[Any]
) -> pl.DataFrame:
    """Return the names of groups, numbered by place and policy, beside some values of each."""
    policy = (
        pl.Series(policies, dtype=pl.String)[groups % len(policies)] if len(groups) else pl.Series([], dtype=pl.String)
    )
    return places[groups // max(1, len(policies))].with_columns(policy=policy, **values)


def _ranked(piece: Piece, ranks: Mapping[str, int]) -> Numbers:
    smallest = np.min_scalar_type(len(ranks))
    found: Numbers = np.array([ranks[name] for name in piece.policies], dtype=smallest)[piece.policy]
    return found
