"""Replicates in rounds: at which sizes a growing sample is looked at, and when it is large enough.

Whoever looks at an interval after each round and stops when it pleases has to pay for each look. The looks are fixed
beforehand, and each gets an equal part of the error: the chance that *any* of the intervals misses is then at most the
error that was asked for, whatever made the rounds end. These are repeated confidence intervals (Jennison and Turnbull,
"Interim analyses: the repeated confidence interval approach", Journal of the Royal Statistical Society B 51, 1989) with
the error spent evenly (Lan and DeMets, "Discrete sequential boundaries for clinical trials", Biometrika 70, 1983); by
Bonferroni they hold for Student's t at every sample size and for any dependence between the looks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log
from typing import Any, Final

import numpy as np

from results.statistics.student_t import Floats, t_half_width
from results.statistics.verdicts import MINIMUM_EFFECT, Rule

GROWTH: Final = 1.5
"""Each look has about this many times the replicates of the one before (assumption): few looks, little overshoot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """How narrow the interval of a difference has to be, and how many replicates it may take."""

    half_width: float
    """Half the width of the interval, in % of the baseline."""
    minimum: int
    maximum: int
    confidence: float

    @property
    def sizes(self) -> tuple[int, ...]:
        """The numbers of replicates at which the sample is looked at."""
        return look_sizes(self.minimum, self.maximum)


def look_sizes(first: int, last: int) -> tuple[int, ...]:
    """Return sample sizes from `first` to `last` in even ratios.

    >>> look_sizes(3, 30)
    (3, 4, 6, 9, 14, 20, 30)

    Raises:
        ValueError: not 2 <= first <= last.
    """
    if not 2 <= first <= last:
        raise ValueError(f"looks from {first} to {last} replicates: expected 2 <= first <= last")
    steps = max(1, ceil(log(last / first) / log(GROWTH) - 1e-9))
    sizes = {round(first * (last / first) ** (step / steps)) for step in range(steps + 1)}
    return tuple(sorted(sizes))


def wanted_replicates(differences: Sequence[Floats], target: Target) -> int:
    """Return how many replicates these differences need by what is known of them.

    `differences` holds a row per comparison: differences in % in the order of their replicates. The answer depends on
    the first values at each look only, so that asking again, or with more values than were asked for, changes nothing.
    """
    sizes = target.sizes
    known = min((len(row) for row in differences), default=0)
    for size in sizes:
        if known < size or not differences:
            return size
        samples = np.stack([row[:size] for row in differences])
        if bool(np.all(look_half_widths(samples, target) <= target.half_width)):
            return size
    return sizes[-1]


def look_half_widths(samples: Floats, target: Target) -> Floats:
    """Return half the width of the interval of each row, as it counts at one of the looks."""
    counts = np.full(samples.shape[0], samples.shape[1], dtype=np.int64)
    error = (1.0 - target.confidence) / len(target.sizes)
    return t_half_width(samples.std(axis=1, ddof=1), counts, error=error)


def rule_of(resolved: Mapping[str, Any], *, minimum_effect: float = MINIMUM_EFFECT) -> Rule:
    """Return how differences of a run are judged: where its replicates were adaptive, each look is paid for."""
    until = resolved.get("until")
    if until is None:
        return Rule(minimum_effect=minimum_effect)
    looks = len(look_sizes(until["minimum"], until["maximum"]))
    return Rule(minimum_effect=minimum_effect, confidence=until["confidence"], looks=looks)
