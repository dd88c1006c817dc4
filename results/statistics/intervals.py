"""Intervals of means for many samples at once: Student's t, and the bootstrap where t's normal values are in doubt.

docs/explanation/statistics.md says which one when. Samples are rows of a matrix, one value per replicate.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from results.statistics.student_t import t_quantile

BOOTSTRAP_VALUES_MIN: Final = 10
"""Fewer values have too few different resamples; the tests measure the coverage from here on."""
RESAMPLES: Final = 2000
"""Resamples of a bootstrap: 50 of them lie beyond each bound of a 95 % interval (Efron and Tibshirani 1993, ch. 12)."""
_CHUNK_VALUES: Final = 1 << 22
"""Doubles that one step of the bootstrap holds at a time: 32 MiB."""

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


def t_half_width(deviation: Floats, counts: Counts, *, error: float) -> Floats:
    """Return half the width of each t interval: infinite for one value, and no width for values without spread.

    `error` is the chance that the interval misses the mean: 0.05 for an interval of 95 %.
    """
    sizes = np.asarray(counts)
    several = sizes > 1
    quantile = np.where(several, t_quantile(error / 2.0, np.maximum(sizes - 1.0, 1.0)), np.inf)
    spread = np.where(several, deviation, 1.0) / np.sqrt(np.maximum(sizes, 1))
    return np.where(several & (spread == 0.0), 0.0, quantile * spread)


def bootstrap_bounds(samples: Floats, *, error: float, seed: int, resamples: int = RESAMPLES) -> tuple[Floats, Floats]:
    """Return the bounds of the mean of each row of `samples` by the studentized bootstrap ("bootstrap-t").

    All rows share one set of resamples, drawn from `seed`. A row whose values are equal has bounds without width.

    Raises:
        ValueError: fewer than BOOTSTRAP_VALUES_MIN values in a row.
    """
    rows, count = samples.shape
    if count < BOOTSTRAP_VALUES_MIN:
        text = f"{count} values per sample: the bootstrap needs at least {BOOTSTRAP_VALUES_MIN}; use Student's t"
        raise ValueError(text)
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1.0 / count), resamples).T / count
    bounds = np.empty((2, rows))
    step = max(1, _CHUNK_VALUES // resamples)
    for start in range(0, rows, step):
        bounds[:, start : start + step] = _bootstrap(samples[start : start + step], weights, error)
    return bounds[0], bounds[1]


def _bootstrap(samples: Floats, weights: Floats, error: float) -> Floats:
    count = samples.shape[1]
    mean = samples.mean(axis=1, keepdims=True)
    centred = samples - mean
    spread = centred.std(axis=1, ddof=1, keepdims=True)
    unit = centred / np.where(spread > 0.0, spread, 1.0)
    means = unit @ weights
    variance = np.maximum(np.square(unit) @ weights - np.square(means), 0.0) * count / (count - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.nan_to_num(means / np.sqrt(variance), nan=0.0)
    low, high = np.quantile(statistic, (error / 2.0, 1.0 - error / 2.0), axis=1, overwrite_input=True)
    # The distance of a resample's mean from ours stands for that of our mean from the true one: hence the exchange.
    return np.stack([mean[:, 0] - high * spread[:, 0], mean[:, 0] - low * spread[:, 0]])
