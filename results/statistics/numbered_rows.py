"""Rows of cells with numbers for the names of traces and policies.

Ten million cells are hashed, sorted and joined by texts in many seconds, by numbers in a fraction of one. Rows of
one cell or trace follow each other in every part, so only the first of them is looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import polars as pl

PLACE: Final = ("workload", "guest", "vcpus", "memory_mib")
"""What the rows of a summary have in common beside the policy."""
TRACE: Final = (*PLACE, "replicate", "trace_digest")

Numbers = npt.NDArray[np.integer[Any]]
Times = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Some cells, one per place of each array: the row of their trace, the index of their policy, their time."""

    trace: Numbers
    policy: Numbers
    elapsed_ns: Times

    def __getitem__(self, chosen: "slice | Flags") -> Self:
        return type(self)(trace=self.trace[chosen], policy=self.policy[chosen], elapsed_ns=self.elapsed_ns[chosen])


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Some cells; one may have its rows in several pieces."""

    traces: pl.DataFrame
    """`TRACE` where it changes, in the order of the rows: a trace may be there twice."""
    policies: tuple[str, ...]
    """In order."""
    cells: Cells
    """By the rows in `traces` and the indices in `policies`."""

    def is_ordered(self) -> bool:
        """Say whether the cells of each trace are in the order of their policies, each of them once."""
        trace, policy = self.cells.trace, self.cells.policy
        later = policy[1:] > policy[:-1]
        later |= trace[1:] != trace[:-1]
        return bool(later.all())


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
        """Number the rows of a frame with the columns `PLACE` and policy; texts may be Categorical."""
        # A place among the names of this whole process; those that are here get small numbers of their own, in order.
        policy = rows["policy"].cast(pl.Categorical)
        codes = policy.to_physical().to_numpy()
        present = np.flatnonzero(np.bincount(codes))
        a_row = np.zeros(codes.max(initial=0) + 1, dtype=np.int64)
        a_row[codes] = np.arange(len(codes))
        names = policy[a_row[present]].cast(pl.String)
        order = names.arg_sort().to_numpy()
        numbers = np.zeros(len(a_row), dtype=np.min_scalar_type(len(present)))
        numbers[present[order]] = np.arange(len(present))
        return cls(
            rows=rows,
            place_starts=changes(rows, PLACE),
            policies=tuple(names[order]),
            policy=numbers[codes],
        )

    def sums(self, columns: Sequence[str]) -> pl.DataFrame:
        """Return `PLACE`, policy, sums of whole numbers, and the number of rows as `rows`; a group may come twice."""
        names = _spelled(self.rows[list(PLACE)].filter(self.place_starts))
        group = ordinals(self.place_starts)
        group *= len(self.policies)
        group += self.policy
        groups = np.arange(names.height * len(self.policies))
        if len(groups) > len(group):
            groups, group = np.unique(group, return_inverse=True)
        count = np.bincount(group, minlength=len(groups))
        sums = {column: np.zeros(len(groups), dtype=np.int64) for column in columns}
        for column, total in sums.items():
            np.add.at(total, group, self.rows[column].to_numpy())
        return named_groups(names, self.policies, groups, rows=count, **sums).filter(pl.col("rows") > 0)

    def piece(self) -> Piece:
        """Return the cells; rows have `TRACE` and elapsed_ns, too."""
        trace_starts = self.place_starts | changes(self.rows, TRACE[len(PLACE) :])
        cell_starts = trace_starts.copy()
        cell_starts[1:] |= self.policy[1:] != self.policy[:-1]
        starts = np.flatnonzero(cell_starts)
        trace = ordinals(trace_starts).astype(np.uint32)
        elapsed = self.rows["elapsed_ns"].to_numpy()
        return Piece(
            traces=_spelled(self.rows[list(TRACE)].filter(trace_starts)),
            policies=self.policies,
            cells=Cells(
                trace=trace[starts],
                policy=self.policy[starts],
                elapsed_ns=np.add.reduceat(elapsed, starts) if len(starts) else elapsed,
            ),
        )


def ordinals(starts: Flags) -> npt.NDArray[np.int64]:
    """Return for each row the number, from 0, of what it belongs to; `starts` marks the first row of each."""
    first = np.flatnonzero(starts)
    return np.repeat(np.arange(len(first)), np.diff(first, append=len(starts)))


def _spelled(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(pl.col(pl.Categorical).cast(pl.String))


def changes(rows: pl.DataFrame, names: Sequence[str]) -> Flags:
    """Return for each row whether one of its values is not that of the row before; so is the first one."""
    if rows.is_empty():
        return np.zeros(0, dtype=np.bool_)
    differs = rows.select(pl.any_horizontal([pl.col(name).ne_missing(pl.col(name).shift()) for name in names]))
    found = differs.to_series().to_numpy(writable=True)
    found[0] = True
    return found


def named_groups(
    places: pl.DataFrame, policies: Sequence[str], groups: npt.NDArray[np.int64], **values: npt.NDArray[Any]
) -> pl.DataFrame:
    """Return the names of groups, numbered by place and policy, beside some values of each."""
    policy = (
        pl.Series(policies, dtype=pl.String)[groups % len(policies)] if len(groups) else pl.Series([], dtype=pl.String)
    )
    return places[groups // max(1, len(policies))].with_columns(policy=policy, **values)
