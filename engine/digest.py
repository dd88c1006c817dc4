"""Digest a trace as it streams by, so that two runs can be told apart by one word."""

from hashlib import blake2b
from typing import Final

import numpy as np

from engine.core.extension import core
from engine.events import EVENT, Events

_OFFSET: Final = 0xCBF29CE484222325
_WORDS: Final = EVENT.itemsize // np.dtype(np.uint64).itemsize


class TraceDigest:
    """64 bits over all events in order, whatever the arrays that they come in.

    Each word of an event has a chain of its own (FNV-1a by words, with a shift so that high bits reach low ones), so
    that no multiplication waits for another.
    """

    def __init__(self) -> None:
        """Start with the digest of no event."""
        self._chains = np.full(_WORDS, _OFFSET, dtype=np.uint64)
        self.events = 0

    def update(self, events: Events) -> None:
        """Take in the next events."""
        core.digest(np.ascontiguousarray(events), self._chains)
        self.events += len(events)

    def hexdigest(self) -> str:
        """Return the digest as 16 hexadecimal digits."""
        return blake2b(self._chains.tobytes(), digest_size=8).hexdigest()
