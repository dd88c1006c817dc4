"""Means and intervals against numbers worked out by hand and against scipy's own tests."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from results.published import SEED_KERNBENCH, SHADOW_OVER_NESTED
from results.statistics import Interval, interval_columns, mean_interval, paired_difference


def test_interval_of_three_values_by_hand() -> None:
    """For 1, 2, 3: mean 2, deviation 1, t(0.975, 2) = 4.302653, half width 4.302653 / sqrt(3)."""
    found = mean_interval([1.0, 2.0, 3.0])

    half = 4.302652729911275 / 3**0.5
    assert (found.mean, found.count) == (2.0, 3)
    assert (found.low, found.high) == (pytest.approx(2.0 - half), pytest.approx(2.0 + half))


def test_one_value_has_no_interval() -> None:
    """One replicate gives a mean and says nothing about its spread."""
    assert mean_interval([5.0]) == Interval(mean=5.0, low=None, high=None, count=1)


def test_no_value_is_an_error() -> None:
    """There is no mean of nothing."""
    with pytest.raises(ValueError, match="expected at least one replicate"):
        mean_interval([])


def test_pairing_removes_what_replicates_share() -> None:
    """If every replicate changes by -10 %, the interval is a point, however different the replicates are."""
    found = paired_difference([90.0, 180.0, 45.0], [100.0, 200.0, 50.0])

    assert found.mean == pytest.approx(-10.0)
    assert (found.low, found.high) == (pytest.approx(-10.0), pytest.approx(-10.0))


def test_paired_interval_is_that_of_a_t_test() -> None:
    """The interval of the paired difference is scipy's one-sample interval of the percentages."""
    ours, theirs = np.array([99.0, 104.0, 96.0, 101.0]), np.array([100.0, 103.0, 99.0, 105.0])
    expected = stats.ttest_1samp(100.0 * (ours / theirs - 1.0), 0.0).confidence_interval(0.95)

    found = paired_difference(ours, theirs)

    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_pairs_must_be_complete() -> None:
    """Values without a partner are refused."""
    with pytest.raises(ValueError, match="2 values against 3 of the baseline"):
        paired_difference([1.0, 2.0], [1.0, 2.0, 3.0])


def test_columns_agree_with_single_intervals() -> None:
    """The interval of each group in a frame is the interval of its values alone."""
    values = {"a": [1.0, 2.0, 4.0], "b": [7.0], "c": [3.0, 3.5, 2.0, 9.0]}
    frame = pl.DataFrame([{"group": group, "x": x} for group, xs in values.items() for x in xs])

    found = interval_columns(frame, "x", ["group"])

    for group, mean, low, high, count in found.iter_rows():
        expected = mean_interval(values[group])
        assert (mean, count) == (pytest.approx(expected.mean), expected.count)
        assert low == (None if expected.low is None else pytest.approx(expected.low))
        assert high == (None if expected.high is None else pytest.approx(expected.high))


def test_published_change_is_the_published_one() -> None:
    """The cover letter's six times give 182.72 s, 171.49 s and -6.14 % (-6.15 % of the rounded means)."""
    before, after = SEED_KERNBENCH.before_seconds, SEED_KERNBENCH.after_seconds
    change = SEED_KERNBENCH.change_percent()
    welch = stats.ttest_ind(after, before, equal_var=False).confidence_interval(0.95)

    assert (round(np.mean(before), 2), round(np.mean(after), 2)) == (182.72, 171.49)
    assert (round(change.mean, 2), round(100 * (171.49 / 182.72 - 1), 2)) == (-6.14, -6.15)
    assert change.low == pytest.approx(100 * welch.low / np.mean(before))
    assert change.high == pytest.approx(100 * welch.high / np.mean(before))


def test_published_ratio_lies_in_its_range() -> None:
    """1.83 lies between 4m40 and 4m47 over 2m34."""
    assert 280 / 154 <= SHADOW_OVER_NESTED.ratio <= 287 / 154
