"""A trace is told from another by one word."""

from typing import Final

import numpy as np
import pytest

from engine.digest import TraceDigest
from engine.events import EVENT, Events

WORDS: Final = EVENT.itemsize // 8


def some_events() -> Events:
    """Return events of which no two are alike."""
    return np.arange(40 * WORDS, dtype=np.uint64).view(EVENT)


def digest_of(*arrays: Events) -> str:
    """Return the digest of a trace that comes in arrays."""
    digest = TraceDigest()
    for events in arrays:
        digest.update(events)
    return digest.hexdigest()


@pytest.mark.parametrize("cut", [0, 1, 17, 40])
def test_arrays_do_not_matter(cut: int) -> None:
    """The digest is that of the events, whatever the arrays in which they come."""
    events = some_events()

    assert digest_of(events[:cut], events[cut:]) == digest_of(events)


@pytest.mark.parametrize("bit", range(EVENT.itemsize * 8))
def test_any_bit_matters(bit: int) -> None:
    """A bit that is different anywhere in an event gives another digest."""
    events = some_events()
    changed = events.copy()
    changed.view(np.uint64)[7 * WORDS + bit // 64] ^= np.uint64(1 << bit % 64)

    assert digest_of(changed) != digest_of(events)


def test_order_matters() -> None:
    """Two events that change places give another digest."""
    events = some_events()
    swapped = events.copy()
    swapped[[3, 4]] = swapped[[4, 3]]

    assert digest_of(swapped) != digest_of(events)
