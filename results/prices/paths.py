"""Prices that are paths through a hypervisor: instructions * CPI of that kind of code + what the hardware takes.

Instructions are measured once and hold on every machine; CPI and hardware are the machine's. Code that is cold in the
caches and a loop that runs hot differ in their CPI by several times, so that each path says which of the two it is. The
first pass of a loop is cold: the event that begins it pays the difference.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from results.statistics.student_t import Floats

COLD: Final = "cpi.cold"
LOOP: Final = "cpi.loop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A number with its range, how far it can be trusted, and where it is from."""

    value: float
    low: float
    high: float
    status: str
    source: str
    shape: str = "triangular"

    def at(self, bound: str) -> "Quantity":
        """Return the number at one end of its range."""
        return replace(self, value=getattr(self, bound))


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A number and the ends of its range."""

    low: float
    value: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """Instructions of one counted event, and which numbers of the machine turn them into cycles."""

    instructions: Spread
    cpi: str
    """Name among the factors of the model, as in `cpi.cold`."""
    hardware: str | None = None
    """Name among the factors of the model, as in `hardware.exit`; None if the event is software alone."""
    first_pass: float = 0.0
    """Instructions of a loop that is priced by itself, which run cold the first time."""

    def at(self, bound: str) -> "Path":
        """Return the path with its instructions at one end of their range."""
        return replace(self, instructions=replace(self.instructions, value=getattr(self.instructions, bound)))

    def cycles(self, factors: Mapping[str, Quantity], bound: str) -> float:
        """Return the cycles with every number at `low`, `value` or `high`: the fewest, the likely, the most."""
        numbers = {name: np.array([getattr(one, bound)]) for name, one in factors.items()}
        cycles = self.cycles_of(np.array([getattr(self.instructions, bound)]), numbers)[0]
        if self.first_pass and bound != "value":
            # The first pass costs most where loops cost least.
            other = getattr(factors[LOOP], {"low": "high", "high": "low"}[bound])
            cold, loop = numbers[COLD][0], numbers[LOOP][0]
            cycles += self.first_pass * (max(cold - other, 0.0) - max(cold - loop, 0.0))
        return float(cycles)

    def cycles_of(self, instructions: Floats, factors: Mapping[str, Floats]) -> Floats:
        """Return the cycles for arrays of all numbers."""
        cycles = instructions * factors[self.cpi]
        if self.hardware is not None:
            cycles = cycles + factors[self.hardware]
        if self.first_pass:
            cycles = cycles + self.first_pass * np.maximum(factors[COLD] - factors[LOOP], 0.0)
        return cycles

    def formula(self) -> str:
        """Return how the cycles are made, in words of the model's file."""
        hardware = f" + {self.hardware}" if self.hardware else ""
        first = f" + {self.first_pass:g} instructions * ({COLD} - {LOOP})" if self.first_pass else ""
        return f"{self.instructions.value:g} instructions * {self.cpi}{first}{hardware}"
