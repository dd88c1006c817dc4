"""Digest a trace as it streams by, so that two runs can be told apart by one word."""

from typing import Final

import numpy as np

from engine.events import EVENT, Events
from engine.jit import kernel
from engine.lanes.bits import Words

_OFFSET: Final = np.uint64(0xCBF29CE484222325)
_PRIME: Final = np.uint64(0x00000100000001B3)
_HIGH: Final = np.uint64(29)


@kernel
def _fold(words: Words, state: np.uint64) -> np.uint64:
    for i in range(words.shape[0]):
        state = (state ^ words[i]) * _PRIME
        state ^= state >> _HIGH
    return state


class TraceDigest:
    """64 bits over all events in order (FNV-1a by words, with a shift so that high bits reach low ones)."""

    def __init__(self) -> None:
        """Start with the digest of no event."""
        self._state = _OFFSET
        self.events = 0

    def update(self, events: Events) -> None:
        """Take in the next events."""
        words = np.ascontiguousarray(events).view(np.uint64)
        self._state = np.uint64(_fold(words, self._state))
        self.events += len(events)

    def hexdigest(self) -> str:
        """Return the digest as 16 hexadecimal digits."""
        return f"{int(self._state):016x}"


assert EVENT.itemsize % np.dtype(np.uint64).itemsize == 0
