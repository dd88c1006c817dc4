"""Student's t against SciPy's."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from results.statistics.student_t import t_quantile, t_tail

FREEDOMS = st.one_of(st.integers(1, 40).map(float), st.floats(1.0, 1e6))


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), FREEDOMS), min_size=1, max_size=20))
def test_tails_are_scipys(pairs: list[tuple[float, float]]) -> None:
    """The chance beyond any statistic, for any degrees of freedom that samples have, agrees to nine digits."""
    statistic, freedom = (np.array(column) for column in zip(*pairs, strict=True))

    np.testing.assert_allclose(t_tail(statistic, freedom), special.stdtr(freedom, -statistic), rtol=1e-9, atol=1e-250)


@given(st.floats(1e-12, 0.49), st.lists(FREEDOMS, min_size=1, max_size=20))
def test_quantiles_are_scipys(tail: float, freedoms: list[float]) -> None:
    """What is exceeded with a given chance agrees to nine digits, and is exceeded with that chance."""
    freedom = np.array(freedoms)

    quantile = t_quantile(tail, freedom)

    np.testing.assert_allclose(quantile, -special.stdtrit(freedom, tail), rtol=1e-9)
    np.testing.assert_allclose(t_tail(quantile, freedom), tail, rtol=1e-9)


def test_few_replicates() -> None:
    """The quantile of a 95 % interval of up to 100 values agrees to the twelfth digit."""
    freedom = np.arange(1.0, 100.0)

    np.testing.assert_allclose(t_quantile(0.025, freedom), -special.stdtrit(freedom, 0.025), rtol=1e-12)


def test_closed_forms() -> None:
    """With one degree t is Cauchy's, with two it has a closed form; nothing lies beyond infinity, half beyond zero."""
    t = np.array([0.0, 0.5, 1.0, 12.0, math.inf, -math.inf])
    one, two = np.ones_like(t), np.full_like(t, 2.0)
    cauchy = 0.5 - np.arctan(t) / math.pi
    with_two = 0.5 - np.array([0.0, 0.5, 1.0, 12.0]) / (2.0 * np.sqrt(2.0 + np.square(t[:4])))

    np.testing.assert_allclose(t_tail(t, one), cauchy, rtol=1e-12, atol=1e-16)
    np.testing.assert_allclose(t_tail(t, two)[:4], with_two, rtol=1e-12)
    assert t_quantile(0.025, np.ones(1)) == pytest.approx(math.tan(math.pi * 0.475), rel=1e-13)


def test_shapes_and_what_is_no_number() -> None:
    """Arrays keep their shape, statistics and degrees meet as numpy's operands do, and no number stays none."""
    assert t_quantile(0.05, np.full((2, 3), 4.0)).shape == (2, 3)
    assert t_tail(np.zeros((2, 1)), np.full(3, 4.0)).tolist() == [[0.5] * 3] * 2
    assert np.isnan(t_tail(np.array([math.nan]), np.ones(1))).all()
    assert t_quantile(0.05, np.empty(0)).shape == (0,)


@pytest.mark.parametrize("tail", [0.0, 0.5, -0.1, 1.0, math.nan])
def test_a_quantile_needs_a_tail(tail: float) -> None:
    """A chance of nothing or of a half and more has no quantile above zero."""
    with pytest.raises(ValueError, match=r"more than 0 and less than 0\.5"):
        t_quantile(tail, np.ones(1))
