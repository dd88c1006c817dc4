"""The lane machine: up to 64 policies over one trace, the counterpart of the reference."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.checks import EventChecks
from engine.core.extension import core
from engine.core.layout import KNOB_RECORD, knob_values
from engine.events import Events
from engine.guests import Guest
from engine.knobs import Policy
from engine.vocabulary import ACTIVITY_NAMES, COUNTER_INDEX, COUNTER_NAMES, LANES_MAX

INSTRUCTION_SET, SLOTS, TABLES, ODD_ENTRIES, FRAMES, VCPUS, MACHINE_BYTES = core.lanes_limits()


class Stop(IntEnum):
    """Why the core stopped, as `enum stop` in lanes/lanes.h."""

    DONE = 0
    WINDOW = 1
    NO_SLOTS = 2
    NO_TABLES = 3
    NO_ODD = 4
    BAD_KIND = 5
    BAD_VCPU = 6
    BAD_STORE = 7
    DIFFERENCE = 8


_EXHAUSTED: Final = {
    Stop.NO_SLOTS: f"{SLOTS} shadow pages over all lanes",
    Stop.NO_TABLES: f"{TABLES} guest frames that were ever page tables",
    Stop.NO_ODD: f"{ODD_ENTRIES} entries that differ between lanes",
}


class CapacityError(RuntimeError):
    """A trace needs more room than the machine has."""


class LaneMachine:
    """All lanes over one trace. `feed` may be called with any cut of the trace into arrays."""

    def __init__(self, policies: Sequence[Policy], guest: Guest) -> None:
        """Make the lanes.

        Raises:
            ValueError: no policy, or more than fit into a word; more memory or vCPUs than the machine has room for.
            MemoryError: the system gives no more memory.
        """
        if not 1 <= len(policies) <= LANES_MAX:
            raise ValueError(f"a batch has 1 to {LANES_MAX} policies, found {len(policies)}")
        if guest.pages > FRAMES or guest.vcpus > VCPUS:
            found = f"{guest.memory_mib} MiB and {guest.vcpus} vCPUs"
            raise ValueError(f"a guest has at most {FRAMES // 256} MiB and {VCPUS} vCPUs, found {found}")
        self._lanes = len(policies)
        self._checks = EventChecks(guest, core.first_wrong)
        knobs = np.array([knob_values(policy.knobs) for policy in policies], dtype=KNOB_RECORD)
        knobs["pool_pages"][knobs["pool_pages"] == 0] = guest.pool_pages
        self._machine: Any = core.lanes_new(knobs, guest.pages, guest.vcpus)
        self._events = 0
        self.windows: list[npt.NDArray[np.int64]] = []
        """Counters[lane, counter] at each WINDOW event."""

    def feed(self, events: Events) -> None:
        """Advance by events of dtype EVENT.

        Raises:
            ValueError: an event that this guest cannot make; none of the array is carried out.
            CapacityError: the trace needs more shadow pages, tables or odd entries than there is room for.
        """
        events = np.ascontiguousarray(events)
        self._checks.check(events)
        start = 0
        while start < len(events):
            start, why = core.lanes_advance(self._machine, events, start)
            if why == Stop.WINDOW:
                self.windows.append(self.counters())
            elif why in _EXHAUSTED:
                raise CapacityError(
                    f"the machine has room for {_EXHAUSTED[Stop(why)]}; put fewer policies into one batch"
                )
            elif why == Stop.DIFFERENCE:
                raise AssertionError(f"event {self._events + start}: a fast path differs from the slow one")
            elif why != Stop.DONE:
                raise AssertionError(f"event {self._events + start}: {Stop(why).name} after the checks found nothing")
        self._events += len(events)

    def counters(self) -> npt.NDArray[np.int64]:
        """Return counters[lane, counter] so far in the order of COUNTERS."""
        counters, peaks = self._read()
        totals: npt.NDArray[np.int64] = counters.sum(axis=0)
        totals[:, COUNTER_INDEX["pages_peak"]] = peaks
        return totals

    def activities(self) -> npt.NDArray[np.int64]:
        """Return counters[activity, lane, counter] so far; a peak belongs to no activity and is 0."""
        return self._read()[0]

    def _read(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        counters = np.zeros((len(ACTIVITY_NAMES), self._lanes, len(COUNTER_NAMES)), dtype=np.int64)
        peaks = np.zeros(self._lanes, dtype=np.int64)
        core.lanes_read(self._machine, counters, peaks)
        return counters, peaks
