"""Means and intervals: differences to a baseline paired by replicate, because both policies met the same trace."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from results.statistics.student_t import t_half_width, t_quantile

CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean of `count` values with its interval."""

    mean: float
    low: float
    high: float
    count: int


def welch_change(before: Sequence[float], after: Sequence[float]) -> Interval:
    """Return the change of the mean in % of two unpaired samples, with Welch's 95 % interval of the difference.

    The interval takes the mean before as given, which makes it a little too narrow. Each sample has two values or more,
    and one of them has two that differ.
    """
    base, change = float(np.mean(before)), float(np.mean(after) - np.mean(before))
    squares = [float(np.var(sample, ddof=1)) / len(sample) for sample in (before, after)]
    # Welch 1947, "The generalization of 'Student's' problem when several different population variances are involved".
    freedom = sum(squares) ** 2 / sum(
        s**2 / (len(sample) - 1) for s, sample in zip(squares, (before, after), strict=True)
    )
    half = float(t_quantile((1.0 - CONFIDENCE) / 2.0, np.array(freedom))) * math.sqrt(sum(squares))
    return Interval(
        mean=100.0 * change / base,
        low=100.0 * (change - half) / base,
        high=100.0 * (change + half) / base,
        count=len(before) + len(after),
    )


def difference_moments(paired: pl.DataFrame, difference: str, by: Sequence[str]) -> pl.DataFrame:
    """Return mean, deviation and count of `difference` per group, in the order in which the groups first appear."""
    value = pl.col(difference)
    return paired.group_by(by, maintain_order=True).agg(
        mean=value.mean(), deviation=value.std(ddof=1), count=value.count()
    )


def interval_columns(
    frame: pl.DataFrame, column: str, by: Sequence[str], *, error: float = 1.0 - CONFIDENCE
) -> pl.DataFrame:
    """Return mean, low, high and count of `column` per group, in the order in which the groups first appear.

    `error` is the chance that an interval misses.
    """
    groups = difference_moments(frame, column, by)
    counts = groups["count"].to_numpy().astype(np.int64)
    half = t_half_width(groups["deviation"].fill_null(0.0).to_numpy(), counts, error=error)
    width = pl.when(pl.col("count") > 1).then(pl.Series("half", half, dtype=pl.Float64))
    bounds = {"low": pl.col("mean") - width, "high": pl.col("mean") + width}
    return groups.with_columns(**bounds).select(*by, "mean", *bounds, "count")
