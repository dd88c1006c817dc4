"""Student's t, and the intervals of means by it.

SciPy has it too, but takes longer to load than most verbs take; the tests compare the two.
"""

import math
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

_STEPS_MAX: Final = 64
"""Newton's steps at most; from the normal quantile four to eight are enough."""
_TERMS_MAX: Final = 1000
"""Pairs of terms of the continued fraction at most; 100 are enough for a million degrees of freedom."""
_STIRLING_MIN: Final = 20.0
"""From here on the series' first term that is left out is below 1e-14."""
_EPSILON: Final = 1e-13
"""The relative change that counts as none; below it, rounding decides where there are very many degrees."""

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


def t_tail(statistic: Floats, freedom: Floats) -> Floats:
    """Return the chance that Student's t with `freedom` degrees (> 0) exceeds `statistic`, element by element."""
    t, v = np.broadcast_arrays(np.abs(np.asarray(statistic, dtype=np.float64)), np.asarray(freedom, dtype=np.float64))
    with np.errstate(divide="ignore", over="ignore"):
        outside, inside = 1.0 / (1.0 + np.square(t) / v), 1.0 / (1.0 + v / np.square(t))
        # The tail is half the incomplete beta function I(v/2, 1/2) at `outside`, or its mirror image: DLMF 8.17.
        central = outside > (v + 2.0) / (v + 5.0)
        a, b = np.where(central, 0.5, v / 2.0), np.where(central, v / 2.0, 0.5)
        front = np.exp(_log_front(v) - v / 2.0 * np.log1p(np.square(t) / v) + 0.5 * np.log(inside)) / a
    half = 0.5 * front * _fraction(a, b, np.where(central, inside, outside))
    upper = np.where(central, 0.5 - half, half)
    tail: Floats = np.where(np.asarray(statistic) < 0.0, 1.0 - upper, upper)
    return tail


def t_quantile(tail: float, freedom: Floats) -> Floats:
    """Return what Student's t with each number of degrees exceeds with the chance `tail`, which is below one half.

    Newton's method for the logarithm of the tail as a function of that of t: as that is concave, it overshoots once at
    most and comes down to the root.
    """
    if not 0.0 < tail < 0.5:
        raise ValueError(f"tail {tail}: more than 0 and less than 0.5")
    v, inverse = np.unique(np.asarray(freedom, dtype=np.float64), return_inverse=True)
    t = np.full(v.shape, -NormalDist().inv_cdf(tail))
    for _ in range(_STEPS_MAX):
        found = t_tail(t, v)
        density = np.exp(_log_front(v) - 0.5 * np.log(v) - (v + 1.0) / 2.0 * np.log1p(np.square(t) / v))
        step = np.log(found / tail) * found / (t * density)
        t *= np.exp(step)
        if np.all(np.abs(step) <= _EPSILON):
            break
    return t[inverse].reshape(np.shape(freedom))


def t_half_width(deviation: Floats, counts: Counts, *, error: float) -> Floats:
    """Return half the width of each t interval: infinite for one value, and no width for values without spread.

    `error` is the chance that the interval misses the mean: 0.05 for an interval of 95 %.
    """
    sizes = np.asarray(counts)
    several = sizes > 1
    quantile = np.where(several, t_quantile(error / 2.0, np.maximum(sizes - 1.0, 1.0)), np.inf)
    spread = np.where(several, deviation, 1.0) / np.sqrt(np.maximum(sizes, 1))
    return np.where(several & (spread == 0.0), 0.0, quantile * spread)


def _log_front(freedom: Floats) -> Floats:
    """Return -log B(v/2, 1/2), B being the beta function."""
    v, inverse = np.unique(freedom, return_inverse=True)
    each = np.array([_log_ratio(one / 2.0) - math.lgamma(0.5) for one in v.tolist()], dtype=np.float64)
    return each[inverse].reshape(np.shape(freedom))


def _log_ratio(a: float) -> float:
    """Return log(gamma(a + 1/2) / gamma(a)); for large `a` by Stirling's series, as the logarithms would cancel out."""
    if a < _STIRLING_MIN:
        return math.lgamma(a + 0.5) - math.lgamma(a)
    square = 1.0 / (a * a)
    return 0.5 * math.log(a) - (1 / 8 - square * (1 / 192 - square * (1 / 640 - square * 17 / 14336))) / a


def _fraction(a: Floats, b: Floats, x: Floats) -> Floats:
    """Return the continued fraction of the incomplete beta function (DLMF 8.17.22) by the modified method of Lentz."""
    value, above, below = np.ones_like(x), np.ones_like(x), np.zeros_like(x)
    for m in range(_TERMS_MAX):
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m)) if m else None
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        before = value
        for term in (odd,) if even is None else (even, odd):
            below = 1.0 / (1.0 + term * below)
            above = 1.0 + term / above
            value = value * above * below
        if not np.any(np.abs(value - before) > _EPSILON * np.abs(value)):
            break
    return 1.0 / value
