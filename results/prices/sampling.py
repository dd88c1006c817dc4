"""The uncertain numbers of a cost model: which there are, samples of all of them, and each alone at its two ends.

A number that many prices share, such as the CPI of cold paths, is one number: in a sample all of them have the same.
"""

from dataclasses import dataclass

import numpy as np

from results.prices.cost_model import CostModel
from results.prices.paths import Quantity, Spread
from results.statistics.student_t import Floats
from results.store.columns import PAGINGS


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One number of a cost model: `cpu_ghz`, `cpi.cold`, or cycles or instructions of a counter as `shadow.exits`."""

    name: str
    low: float
    value: float
    high: float
    shape: str

    @property
    def uncertain(self) -> bool:
        """Whether it has a range."""
        return self.high > self.low


def parameters(model: CostModel) -> tuple[Parameter, ...]:
    """Return all numbers of `model`, in the order of its file."""
    shared: dict[str, Quantity] = {
        "cpu_ghz": model.cpu_ghz,
        "native_time_scale": model.native_time_scale,
        **model.factors,
    }
    numbers = [_parameter(name, one, one.value, one.shape) for name, one in shared.items()]
    for paging in PAGINGS:
        for cost in model.costs(paging):
            ends = (
                Spread(low=cost.low, value=cost.cycles, high=cost.high) if cost.path is None else cost.path.instructions
            )
            numbers.append(_parameter(f"{paging}.{cost.counter}", ends, ends.value, cost.shape))
    return tuple(numbers)


def _parameter(name: str, ends: Quantity | Spread, value: float, shape: str) -> Parameter:
    return Parameter(name=name, low=ends.low, value=value, high=ends.high, shape=shape)


def cycles_of(model: CostModel, samples: Floats) -> dict[str, Floats]:
    """Return paging -> cycles of each counter (row) under each sample (column), counters in the order of the model."""
    names = [number.name for number in parameters(model)]
    column = {name: samples[:, place] for place, name in enumerate(names)}
    found = {}
    for paging in PAGINGS:
        rows = []
        for cost in model.costs(paging):
            number = column[f"{paging}.{cost.counter}"]
            rows.append(number if cost.path is None else cost.path.cycles_of(number, column))
        found[paging] = np.stack(rows) if rows else np.empty((0, samples.shape[0]))
    return found


def point(numbers: tuple[Parameter, ...]) -> Floats:
    """Return the values of the model itself, as a sample of one row."""
    return np.array([[number.value for number in numbers]])


def draw(numbers: tuple[Parameter, ...], *, count: int, seed: int) -> Floats:
    """Return `count` samples, a row each: every number drawn from its range, independently of the others.

    The draws of a number depend on the seed and its name, so that another number in the file does not move them.
    """
    columns = []
    for number in numbers:
        key = tuple(number.name.encode())
        uniform = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key)).random(count)
        columns.append(_draw_range(uniform, low=number.low, likely=number.value, high=number.high, shape=number.shape))
    return np.stack(columns, axis=1)


def one_at_a_time(numbers: tuple[Parameter, ...]) -> tuple[list[Parameter], Floats]:
    """Return the uncertain numbers, and two rows for each: at its low and at its high end, others as they are."""
    middle = point(numbers)[0]
    uncertain, rows = [], []
    for column, number in enumerate(numbers):
        if number.uncertain:
            uncertain.append(number)
            for end in (number.low, number.high):
                row = middle.copy()
                row[column] = end
                rows.append(row)
    return uncertain, np.stack(rows) if rows else np.empty((0, middle.size))


def _draw_range(uniform: Floats, *, low: float, likely: float, high: float, shape: str) -> Floats:
    """Return values of a range from numbers evenly spread over 0 to 1."""
    if high <= low:
        return np.full_like(uniform, low)
    if shape == "uniform":
        return low + uniform * (high - low)
    width, left = high - low, likely - low
    rising = low + np.sqrt(uniform * width * left)
    falling = high - np.sqrt((1.0 - uniform) * width * (high - likely))
    return np.where(uniform * width < left, rising, falling)
