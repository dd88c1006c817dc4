"""Numbers and lists as the sentences of a report have them."""

from collections.abc import Sequence
from typing import Final

from results.render import enumerated

_NAMES_MAX: Final = 5


def signed(value: float | None) -> str:
    """Return a change in % as one reads it: −9.6 %."""
    if value is None:
        return "–"
    digits = 1 if abs(value) >= 0.95 or value == 0 else 2
    return f"{value:+.{digits}f}\u00a0%".replace("-", "−")


def listed(guests: Sequence[str]) -> str:
    """Return guests as a phrase that names three of them at most."""
    return enumerated(list(dict.fromkeys(guests)), most=3)


def joined(phrases: Sequence[str]) -> str:
    """Return phrases as one that holds five of them at most."""
    return enumerated(phrases, most=_NAMES_MAX)
