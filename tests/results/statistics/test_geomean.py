"""Geometric means: of what a table shows, with intervals that hold the truth as often as they say."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from results.statistics.geomean import geometric_means

TABLES = 2000
TRUTH = {"small": -30.0, "large": 10.0}
"""True change in % of each row."""
GEOMEAN = 100.0 * (np.sqrt(0.7 * 1.1) - 1.0)


def coverage(counts: Sequence[int], *, shared: float) -> float:
    """Return which part of the intervals of two rows, which share a part of the spread, hold the true mean."""
    rng = np.random.default_rng(5)
    common = rng.normal(size=(TABLES, max(counts)))
    frames = []
    for (guest, mean), count in zip(TRUTH.items(), counts, strict=True):
        own = rng.normal(size=(TABLES, max(counts)))
        values = mean + 2.0 * (np.sqrt(shared) * common + np.sqrt(1.0 - shared) * own)[:, :count]
        frames.append(
            pl.DataFrame(
                {
                    "guest": guest,
                    "table": np.repeat(np.arange(TABLES), count),
                    "replicate": np.tile(np.arange(count), TABLES),
                    "_difference": values.ravel(),
                }
            )
        )
    per_replicate = pl.concat(frames)
    table = per_replicate.group_by("guest", "table").agg(
        value=pl.lit(1.0), difference_percent=pl.col("_difference").mean()
    )
    found = geometric_means(per_replicate, table, rows=["guest"], cols=["table"], error=0.05)
    assert found.height == TABLES
    return float(found.select(pl.lit(GEOMEAN).is_between("difference_low", "difference_high").mean()).item())


@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
def test_intervals_of_equally_many_replicates_cover(shared: float) -> None:
    """Rows that share none, half or all of their spread: 93 to 97 % of the intervals hold the true value."""
    assert 0.93 <= coverage((5, 5), shared=shared) <= 0.97


@pytest.mark.parametrize("shared", [0.0, 1.0])
def test_intervals_of_unequally_many_replicates_cover(shared: float) -> None:
    """Rows with 3 and 6 replicates: at least 93 % of the intervals hold the true value."""
    assert coverage((3, 6), shared=shared) >= 0.93
