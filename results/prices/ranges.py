"""Ranges in a cost model: a number may be given as `{low, high, likely}`, and how such a range is drawn from."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from results.statistics.intervals import Floats

SHAPES: Final = ("triangular", "uniform")
"""How values are spread over a range: to both sides of the likely one, or evenly where none is more likely."""
_RANGE_KEYS: Final = ("low", "high", "likely")


def in_full(entry: object, value: str) -> object:
    """Return an entry whose number is a range with low, high and shape beside it; any other entry as it is."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get(value), Mapping):
        return entry
    bounds = entry[value]
    if list(range_problems(entry, value)):
        return entry
    likely = bounds.get("likely", (bounds["low"] + bounds["high"]) / 2)
    shape = "triangular" if "likely" in bounds else "uniform"
    return {**entry, value: likely, "low": bounds["low"], "high": bounds["high"], "shape": shape}


def range_problems(entry: Mapping[Any, Any], value: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what is wrong with the range under the key `value`: the place in the entry, and the text."""
    bounds = entry[value]
    for key in bounds:
        if key not in _RANGE_KEYS:
            yield (value, str(key)), f"unknown key. Allowed: {', '.join(_RANGE_KEYS)}"
    missing = [key for key in ("low", "high") if key not in bounds]
    if missing:
        yield (value,), f"missing {', '.join(missing)}; a range is {{low: 1500, high: 2600, likely: 2000}}"
    known = {key: bounds[key] for key in _RANGE_KEYS if key in bounds}
    wrong = [key for key, number in known.items() if isinstance(number, bool) or not isinstance(number, int | float)]
    yield from (((value, key), f"expected a number, found {known[key]!r}") for key in wrong)
    if not wrong and not missing:
        likely = known.get("likely", known["low"])
        if not 0 <= known["low"] <= likely <= known["high"]:
            shown = ", ".join(f"{key} {number}" for key, number in known.items())
            yield (value,), f"expected 0 <= low <= likely <= high, found {shown}"
    for key in ("low", "high"):
        if key in entry:
            yield (key,), f"is in the range under '{value}' already. Remove one of the two"


def draw_range(uniform: Floats, *, low: float, likely: float, high: float, shape: str) -> Floats:
    """Return values of a range from numbers evenly spread over 0 to 1."""
    if high <= low:
        return np.full_like(uniform, low)
    if shape == "uniform":
        return low + uniform * (high - low)
    width, left = high - low, likely - low
    rising = low + np.sqrt(uniform * width * left)
    falling = high - np.sqrt((1.0 - uniform) * width * (high - likely))
    return np.where(uniform * width < left, rising, falling)
