"""Growing samples: the looks, what they ask for, and by simulation that stopping early costs no coverage."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.statistics.sequential import Target, look_half_widths, look_sizes, wanted_replicates
from results.statistics.student_t import t_half_width


def target(**changes: float) -> Target:
    """Return a target of half a percent."""
    fields = {"half_width": 0.5, "minimum": 3, "maximum": 30, "confidence": 0.95} | changes
    return Target(**fields)  # type: ignore[arg-type]


@given(first=st.integers(2, 50), more=st.integers(0, 5000))
def test_looks_lead_from_first_to_last(first: int, more: int) -> None:
    """Looks grow from the first size to the last, none more than twice the one before, and few in all."""
    sizes = look_sizes(first, first + more)

    assert (sizes[0], sizes[-1]) == (first, first + more)
    assert all(before < after <= 2 * before for before, after in pairwise(sizes))
    assert len(sizes) <= 22


def test_one_replicate_is_no_look() -> None:
    """One value has no spread, so that the first look needs two."""
    with pytest.raises(ValueError, match="looks from 1 to 5 replicates: expected 2 <= first <= last"):
        look_sizes(1, 5)


def test_narrow_differences_need_the_minimum() -> None:
    """Differences without spread are settled at the first look, and not before."""
    assert wanted_replicates([np.full(3, -5.0), np.zeros(3)], target()) == 3
    assert wanted_replicates([np.full(2, -5.0)], target()) == 3
    assert wanted_replicates([], target()) == 3


def test_the_widest_difference_decides() -> None:
    """One wide difference among narrow ones asks for the next look, and at the last look nothing more is asked for."""
    wide = np.random.default_rng(1).normal(0.0, 50.0, 30)

    wanted = [wanted_replicates([np.zeros(30), wide[:known]], target()) for known in (3, 4, 6, 9, 30)]

    assert wanted == [4, 6, 9, 14, 30]


@given(seed=st.integers(0, 10_000), extra=st.integers(0, 20))
def test_more_than_was_asked_for_changes_nothing(seed: int, extra: int) -> None:
    """The answer depends on the values at the looks: growing step by step ends where all values at once do."""
    values = np.random.default_rng(seed).normal(0.0, 0.5, 50)
    known = 0
    while (wanted := wanted_replicates([values[:known]], target())) > known:
        known = wanted

    assert wanted_replicates([values[: known + extra]], target()) == known


@pytest.mark.parametrize("deviation", [0.02, 0.1, 0.3, 0.5, 0.8, 2.0])
def test_stopping_keeps_its_promise(deviation: float) -> None:
    """At the stopping time 95 % of the intervals (less 3 standard errors) hold the true difference, at any spread.

    Where the last look was not needed, every interval is as narrow as asked for. 20,000 sweeps for each spread.
    """
    rule = target()
    samples = np.random.default_rng(17).normal(0.0, deviation, (20_000, 30))

    stopped, misses = stop(samples, rule)

    assert misses.mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / misses.size)
    for size in rule.sizes[:-1]:
        assert np.all(look_half_widths(samples[stopped == size, :size], rule) <= 0.5)


@pytest.mark.parametrize("deviation", [0.3, 0.8])
def test_any_reason_to_stop_is_allowed(deviation: float) -> None:
    """Who stops as soon as an interval excludes the truth, the worst that one can do, still errs in 5 % at most."""
    rule = target()
    samples = np.random.default_rng(23).normal(0.0, deviation, (20_000, 30))
    missed = np.zeros(20_000, dtype=bool)
    for size in rule.sizes:
        missed |= np.abs(samples[:, :size].mean(axis=1)) > look_half_widths(samples[:, :size], rule)

    assert missed.mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / missed.size)


def test_peeking_without_paying_fails() -> None:
    """The plain 95 % interval, looked at after each replicate, misses in more than 8 %: the rule is needed."""
    samples = np.random.default_rng(17).normal(0.0, 0.8, (20_000, 30))
    going, misses = np.ones(20_000, dtype=bool), 0
    for size in range(3, 31):
        half = t_half_width(samples[:, :size].std(axis=1, ddof=1), np.full(20_000, size), error=0.05)
        stops = going & ((half <= 0.5) | (size == 30))
        misses += int(np.sum(stops & (np.abs(samples[:, :size].mean(axis=1)) > half)))
        going &= ~stops

    assert misses / 20_000 > 0.08


def stop(samples: np.ndarray, rule: Target) -> tuple[np.ndarray, np.ndarray]:
    """Return where each sweep stops by the rule, and whether its interval misses zero, the truth."""
    stopped = np.zeros(samples.shape[0], dtype=np.int64)
    misses = np.zeros(samples.shape[0], dtype=bool)
    for size in rule.sizes:
        half = look_half_widths(samples[:, :size], rule)
        ends = (stopped == 0) & ((half <= rule.half_width) | (size == rule.maximum))
        misses |= ends & (np.abs(samples[:, :size].mean(axis=1)) > half)
        stopped[ends] = size
    some = np.arange(0, samples.shape[0], 400)
    assert [wanted_replicates([samples[i]], rule) for i in some] == stopped[some].tolist()
    return stopped, misses
