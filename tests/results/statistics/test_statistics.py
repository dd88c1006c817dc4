"""Means and intervals against numbers worked out by hand and against scipy's own tests."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from results.published import SEED_KERNBENCH, SHADOW_OVER_NESTED
from results.statistics.moments import interval_columns
from results.statistics.student_t import t_half_width


def intervals_of(**values: list[float]) -> dict[str, tuple[float, float | None, float | None, int]]:
    """Return mean, low, high and count of each group of values, by `interval_columns`."""
    frame = pl.DataFrame([{"group": group, "x": x} for group, xs in values.items() for x in xs])
    return {group: (*row,) for group, *row in interval_columns(frame, "x", ["group"]).iter_rows()}


def test_interval_of_three_values_by_hand() -> None:
    """For 1, 2, 3: mean 2, deviation 1, t(0.975, 2) = 4.302653, half width 4.302653 / sqrt(3)."""
    found = intervals_of(a=[1.0, 2.0, 3.0])

    half = 4.302652729911275 / 3**0.5
    assert found == {"a": (2.0, pytest.approx(2.0 - half), pytest.approx(2.0 + half), 3)}


def test_one_value_has_no_interval() -> None:
    """One replicate gives a mean and says nothing about its spread."""
    assert intervals_of(a=[5.0]) == {"a": (5.0, None, None, 1)}


def test_each_group_has_the_interval_of_a_t_test() -> None:
    """The interval of each group in a frame is scipy's one-sample interval of its values alone."""
    values = {"a": [1.0, 2.0, 4.0], "b": [7.0, 7.5], "c": [3.0, 3.5, 2.0, 9.0]}

    found = intervals_of(**values)

    for group, (mean, low, high, count) in found.items():
        expected = stats.ttest_1samp(values[group], 0.0).confidence_interval(0.95)
        assert (mean, count) == (pytest.approx(np.mean(values[group])), len(values[group]))
        assert (low, high) == (pytest.approx(expected.low), pytest.approx(expected.high))


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


DRAWS = {
    "normal": (lambda rng, size: rng.normal(3.0, 2.0, size), 3.0),
    "lognormal": (lambda rng, size: rng.lognormal(0.0, 0.5, size), float(np.exp(0.125))),
}


@pytest.mark.parametrize("count", [2, 3, 5, 10, 30])
def test_t_covers_the_mean(count: int) -> None:
    """Of 20,000 intervals of normal values, 93 to 97 % hold the true mean, from two values on."""
    draw, true = DRAWS["normal"]
    samples = draw(np.random.default_rng(count), (20_000, count))

    half = t_half_width(samples.std(axis=1, ddof=1), np.full(20_000, count), error=0.05)

    assert 0.93 <= np.mean(np.abs(samples.mean(axis=1) - true) <= half) <= 0.97
