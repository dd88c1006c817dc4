"""Digest a trace as it streams by, so that two runs can be told apart by one word."""

from typing import Final

import numpy as np

from engine.core.extension import core
from engine.events import EVENT, Events

_OFFSET: Final = 0xCBF29CE484222325


class TraceDigest:
    """64 bits over all events in order (FNV-1a by words, with a shift so that high bits reach low ones)."""

    def __init__(self) -> None:
        """Start with the digest of no event."""
        self._state = _OFFSET
        self.events = 0

    def update(self, events: Events) -> None:
        """Take in the next events."""
        self._state = core.digest(np.ascontiguousarray(events), self._state)
        self.events += len(events)

    def hexdigest(self) -> str:
        """Return the digest as 16 hexadecimal digits."""
        return f"{self._state:016x}"


assert EVENT.itemsize % np.dtype(np.uint64).itemsize == 0
