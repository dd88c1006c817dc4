"""A figure that was measured, and the table and the JSON that show it."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One thing that was measured in several rounds."""

    name: str
    unit: str
    rounds: tuple[float, ...]
    """One value per round, in the order of the rounds."""
    digest: str | None = None
    """Digest of the answer: a change that should only be faster leaves it as it is."""
    per_second: float = 0.0
    """What the median means in policy-events per second; 0 where there are none."""

    @property
    def median(self) -> float:
        """Median over rounds."""
        return statistics.median(self.rounds)

    def content(self) -> dict[str, Any]:
        """Return the fields of JSON."""
        rate = {"policy_events_per_second": self.per_second} if self.per_second else {}
        return {
            "name": self.name,
            "unit": self.unit,
            "median": self.median,
            "rounds": list(self.rounds),
            "digest": self.digest,
            **rate,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Something that could not be measured here."""

    name: str
    reason: str

    def content(self) -> dict[str, Any]:
        """Return the fields of JSON."""
        return {"name": self.name, "not_measured": self.reason}


Measured = Figure | Missing


def as_text(title: str, measured: Sequence[Measured]) -> str:
    """Return a row for each figure: name, median, lowest and highest round, rate, digest; below it what is missing."""
    from results.render import Sheet, show_notes, show_sheets

    header = ("measured", "answer", "median", "lowest", "highest", "unit", "M policy-events/s")
    rows = tuple(_row(one) for one in measured if isinstance(one, Figure))
    notes = [f"{one.name}: not measured: {one.reason}" for one in measured if isinstance(one, Missing)]
    return show_sheets([Sheet(title=title, header=header, rows=rows, left=2)], "text") + show_notes(notes, "text")


def _row(one: Figure) -> tuple[str, ...]:
    values = [f"{value:.4g}" for value in (one.median, min(one.rounds), max(one.rounds))]
    rate = f"{one.per_second / 1e6:,.0f}" if one.per_second else ""
    return one.name, one.digest or "", *values, one.unit, rate
