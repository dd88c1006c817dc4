"""What somebody may have meant who mistyped a name."""

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known name that is closest to a wrong one; None if none is close."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1)), None)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a question after the known name that is closest, with a space before it; nothing if none is close."""
    close = nearest(word, known)
    return "" if close is None else f" Did you mean '{close}'?"
