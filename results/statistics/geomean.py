"""Geometric means over the rows of a table: of the numbers that it shows, with intervals that hold how rows depend."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from results.statistics.student_t import t_half_width


def geometric_change(difference: str) -> pl.Expr:
    """Return the geometric mean of changes in %, as `sweep compare` and `sweep report` both use it."""
    return 100.0 * ((1.0 + pl.col(difference) / 100.0).log().mean().exp() - 1.0)


def geometric_means(
    per_replicate: pl.DataFrame, table: pl.DataFrame, *, rows: Sequence[str], cols: Sequence[str], error: float
) -> pl.DataFrame:
    """Return per column the geometric mean of a table's values, and of its changes with an interval.

    A column that lacks a row, or has no number in one because the host dies, or one that is not positive, has none.

    `per_replicate` has rows, cols, `replicate` and `_difference` in %; `table` has rows, cols, `value` and
    `difference_percent`, null where it is the baseline's own. `error` is the chance that an interval misses.
    """
    count = table.select(rows).n_unique() if rows else 1
    whole = table.filter(pl.len().over(cols) == count)
    if count < 2 or "replicate" in rows:
        whole = whole.clear()
    ratio = 1.0 + pl.col("difference_percent") / 100.0
    is_known = (pl.col("difference_percent").count() == count) & (ratio > 0).all()
    is_positive = (pl.col("value") > 0).all() & (pl.col("value").count() == count)
    means = whole.group_by(cols, maintain_order=True).agg(
        pl.when(is_positive).then(pl.col("value").log().mean().exp()).alias("value"),
        difference_percent=pl.when(is_known).then(geometric_change("difference_percent")),
    )
    errors = _errors(per_replicate, whole, rows=rows, cols=cols)
    found = means.filter(pl.col("value").is_not_null()).join(errors, on=cols, how="left", nulls_equal=True)
    fewest = found["_fewest"].fill_null(1).to_numpy().astype(np.int64)
    deviation = found["_error"].fill_null(0.0).to_numpy() / count * np.sqrt(fewest)
    half = t_half_width(deviation, fewest, error=error)
    width = pl.when(pl.col("_fewest") > 1).then(pl.Series(half, dtype=pl.Float64))
    mean = (1.0 + pl.col("difference_percent") / 100.0).log()
    return found.select(
        *cols,
        "value",
        "difference_percent",
        difference_low=100.0 * ((mean - width).exp() - 1.0),
        difference_high=100.0 * ((mean + width).exp() - 1.0),
    )


def _errors(
    per_replicate: pl.DataFrame, whole: pl.DataFrame, *, rows: Sequence[str], cols: Sequence[str]
) -> pl.DataFrame:
    """Return per column the standard error of the sum of logarithms, and the fewest replicates that a row has.

    To first order the logarithm of a row's mean ratio errs by the mean of its deviations over that ratio. What one
    replicate adds to that is summed over rows before it is squared, because rows may share its trace.
    """
    shown = [*rows, *(name for name in cols if name not in rows)]
    number = pl.col("_difference").count().over(shown)
    deviation = pl.col("_difference") - pl.col("_difference").mean().over(shown)
    # Divided by n(n-1) in place of n², squares of deviations add up to the unbiased variance of a mean.
    part = deviation / (number * (number - 1)).sqrt() / (100.0 + pl.col("difference_percent"))
    return (
        per_replicate.join(whole.select(*shown, "difference_percent"), on=shown, nulls_equal=True)
        .with_columns(_part=part, _number=number)
        .group_by(*dict.fromkeys((*cols, "replicate")), maintain_order=True)
        .agg(pl.col("_part").sum(), pl.col("_number").min())
        .group_by(cols, maintain_order=True)
        .agg(_error=pl.col("_part").pow(2).sum().sqrt(), _fewest=pl.col("_number").min())
    )
