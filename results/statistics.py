"""Means and intervals: differences to a baseline paired by replicate, because both policies met the same trace."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import stats

CONFIDENCE: Final = 0.95

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean of `count` values with its interval; the bounds are None where one value cannot give them."""

    mean: float
    low: float | None
    high: float | None
    count: int


def mean_interval(values: Sequence[float] | Floats) -> Interval:
    """Return the mean of `values` with its 95 % interval by Student's t.

    Raises:
        ValueError: no values.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.size == 0:
        raise ValueError("no values: expected at least one replicate")
    mean = float(sample.mean())
    if sample.size == 1:
        return Interval(mean=mean, low=None, high=None, count=1)
    half = float(_t_quantile(np.array([sample.size]))[0] * sample.std(ddof=1) / np.sqrt(sample.size))
    return Interval(mean=mean, low=mean - half, high=mean + half, count=int(sample.size))


def paired_difference(values: Sequence[float] | Floats, baseline: Sequence[float] | Floats) -> Interval:
    """Return the mean difference of `values` to `baseline` in %, replicate by replicate, with its 95 % interval.

    Raises:
        ValueError: the two differ in length.
    """
    ours, theirs = np.asarray(values, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if ours.shape != theirs.shape:
        raise ValueError(f"{ours.size} values against {theirs.size} of the baseline: expected one pair per replicate")
    return mean_interval(100.0 * (ours / theirs - 1.0))


def welch_change(before: Sequence[float], after: Sequence[float]) -> Interval:
    """Return the change of the mean in % of two unpaired samples, with Welch's 95 % interval of the difference.

    The interval takes the mean before as given, which makes it a little too narrow.
    """
    change = stats.ttest_ind(after, before, equal_var=False)
    bounds = change.confidence_interval(CONFIDENCE)
    base = float(np.mean(before))
    return Interval(
        mean=100.0 * (float(np.mean(after)) / base - 1.0),
        low=100.0 * float(bounds.low) / base,
        high=100.0 * float(bounds.high) / base,
        count=len(before) + len(after),
    )


def interval_columns(frame: pl.DataFrame, column: str, by: Sequence[str]) -> pl.DataFrame:
    """Return mean, low, high and count of `column` per group, in the order in which the groups first appear."""
    value = pl.col(column)
    groups = frame.group_by(by, maintain_order=True).agg(
        mean=value.mean(),
        count=value.count(),
        _error=value.std(ddof=1) / value.count().cast(pl.Float64).sqrt(),
    )
    half = pl.col("_error") * pl.Series("t", _t_quantile(groups["count"].to_numpy()), dtype=pl.Float64)
    bounds = groups.with_columns(low=pl.col("mean") - half, high=pl.col("mean") + half)
    return bounds.select(*by, "mean", "low", "high", "count")


def _t_quantile(counts: npt.NDArray[np.int64]) -> Floats:
    """Return Student's t for the two-sided interval of samples of these sizes; infinite for one value."""
    freedom = np.maximum(np.asarray(counts, dtype=np.float64) - 1.0, 1.0)
    quantile: Floats = stats.t.ppf(0.5 + CONFIDENCE / 2.0, freedom)
    return np.where(np.asarray(counts) > 1, quantile, np.inf)
