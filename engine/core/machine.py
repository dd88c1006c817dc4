"""The lane machine: any number of policies over one trace, the counterpart of the reference."""

from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.checks import complaint
from engine.core.extension import core
from engine.core.layout import KNOB_RECORD, knob_values
from engine.events import Events
from engine.guests import Guest
from engine.knobs import Policy
from engine.vocabulary import ACTIVITY_NAMES, COUNTER_INDEX, COUNTER_NAMES


class Word(NamedTuple):
    """A kind of machine that this CPU has: the instruction set, how many lanes, and what there is room for."""

    instruction_set: str
    lanes: int
    slots: int
    tables: int
    odd_entries: int
    frames: int
    vcpus: int


WORDS: Final = tuple(Word(*word) for word in core.lanes_words())
"""Narrowest first: 16 lanes where the CPU has AVX2, 64, and 512 where it has AVX-512."""
FRAMES, VCPUS = WORDS[0].frames, WORDS[0].vcpus

TAKEN_FROM: Final = {16: 1, 64: 17, 512: 129}
"""Lanes of a word -> the least policies that take it: fewer are faster in one or several narrower ones (measured)."""

EVENTS_PER_BLOCK: Final = 1 << 14
"""Events that machines of the core get in turn: few enough to be in the cache when the next one reads them."""


class Stop(IntEnum):
    """Why the core stopped, as `enum stop` in lanes/lanes.h."""

    DONE = 0
    WINDOW = 1
    NO_SLOTS = 2
    NO_TABLES = 3
    NO_ODD = 4
    WRONG = 5
    DIFFERENCE = 6


_FEWER: Final = "put fewer policies into one batch"
_EXHAUSTED: Final = {
    Stop.NO_SLOTS: f"{{0.slots}} shadow pages over all lanes; {_FEWER}",
    Stop.NO_TABLES: "{0.tables} guest frames that were ever page tables; give the guest less memory, or end sooner",
    Stop.NO_ODD: f"{{0.odd_entries}} entries that differ between lanes; {_FEWER}",
}


class CapacityError(RuntimeError):
    """A trace needs more room than the machine has."""


class CoreMachine:
    """One machine of the core: a word of lanes."""

    def __init__(self, word: int, knobs: npt.NDArray[np.void], guest: Guest) -> None:
        """Make the lanes from rows of KNOB_RECORD, as many as WORDS[word] has at the most."""
        self._word, self._lanes, self._guest = WORDS[word], len(knobs), guest
        self._machine: Any = core.lanes_new(word, knobs, guest.pages, guest.vcpus)
        self._events = 0
        self.windows: list[npt.NDArray[np.int64]] = []

    def advance(self, events: Events) -> None:
        """Carry out events.

        Raises:
            ValueError: an event that this guest cannot make; those before it are carried out.
            CapacityError: they need more shadow pages, tables or odd entries than there is room for.
        """
        start = 0
        while start < len(events):
            start, why, wrong, window = core.lanes_advance(self._machine, events, start)
            if why == Stop.WINDOW:
                self.windows.append(totals(*self.read()))
            elif why in _EXHAUSTED:
                raise CapacityError(f"the machine has room for {_EXHAUSTED[Stop(why)].format(self._word)}")
            elif why == Stop.WRONG:
                raise ValueError(complaint(events[start], self._events + start, wrong, self._guest, window))
            elif why == Stop.DIFFERENCE:
                raise AssertionError(f"event {self._events + start}: a fast path differs from the slow one")
        self._events += len(events)

    def read(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return counters[activity, lane, counter] so far, and the most pages that each lane had in use."""
        counters = np.zeros((len(ACTIVITY_NAMES), self._lanes, len(COUNTER_NAMES)), dtype=np.int64)
        peaks = np.zeros(self._lanes, dtype=np.int64)
        core.lanes_read(self._machine, counters, peaks)
        return counters, peaks


def totals(counters: npt.NDArray[np.int64], peaks: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return counters[lane, counter] over all activities."""
    added: npt.NDArray[np.int64] = counters.sum(axis=0)
    added[:, COUNTER_INDEX["pages_peak"]] = peaks
    return added


def cut(policies: int) -> Iterator[tuple[int, int, int]]:
    """Yield words for so many policies: number of the word, first policy, and the one after its last."""
    start = 0
    while start < policies:
        rest = policies - start
        word = max(i for i, one in enumerate(WORDS) if i == 0 or TAKEN_FROM[one.lanes] <= rest)
        end = min(start + WORDS[word].lanes, policies)
        yield word, start, end
        start = end


class LaneMachine:
    """All lanes over one trace. `feed` may be called with any cut of the trace into arrays.

    More policies than a word has bits are further machines of the core, which get the same events block by block.
    """

    def __init__(self, policies: Sequence[Policy], guest: Guest) -> None:
        """Make the lanes.

        Raises:
            ValueError: no policy; more memory or vCPUs than the machine has room for.
            MemoryError: the system gives no more memory.
        """
        if not policies:
            raise ValueError("a batch has at least one policy, found none")
        if guest.pages > FRAMES or guest.vcpus > VCPUS:
            found = f"memory_mib {guest.memory_mib} and vcpus {guest.vcpus}"
            raise ValueError(f"a guest has at most {FRAMES // 256} MiB and {VCPUS} vCPUs, found {found}")
        knobs = np.array([knob_values(policy.knobs) for policy in policies], dtype=KNOB_RECORD)
        knobs["pool_pages"][knobs["pool_pages"] == 0] = guest.pool_pages
        self._machines = [CoreMachine(word, knobs[start:end], guest) for word, start, end in cut(len(knobs))]

    def feed(self, events: Events) -> None:
        """Advance by events of dtype EVENT.

        Raises:
            ValueError: an event that this guest cannot make; those before it are carried out.
            CapacityError: the trace needs more shadow pages, tables or odd entries than there is room for.
        """
        events = np.ascontiguousarray(events)
        block = len(events) if len(self._machines) == 1 else EVENTS_PER_BLOCK
        for start in range(0, len(events), max(block, 1)):
            for machine in self._machines:
                machine.advance(events[start : start + block])

    @property
    def windows(self) -> list[npt.NDArray[np.int64]]:
        """Counters[lane, counter] at each WINDOW event."""
        return [np.concatenate(parts) for parts in zip(*(one.windows for one in self._machines), strict=True)]

    def counters(self) -> npt.NDArray[np.int64]:
        """Return counters[lane, counter] so far in the order of COUNTERS."""
        return np.concatenate([totals(*machine.read()) for machine in self._machines])

    def activities(self) -> npt.NDArray[np.int64]:
        """Return counters[activity, lane, counter] so far; a peak belongs to no activity and is 0."""
        return np.concatenate([machine.read()[0] for machine in self._machines], axis=1)
