"""The lane machine: up to 64 policies over one trace, the counterpart of the reference."""

from collections.abc import Sequence
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

from engine.checks import RUN_NS_MAX, EventChecks
from engine.events import Events
from engine.guests import Guest
from engine.lanes import kernel as k
from engine.lanes import state as s
from engine.lanes.allocate import allocate
from engine.lanes.counting import C_MMU_UNSYNC, C_PAGES_PEAK, C_RESYNC, unslice
from engine.lanes.state import Lanes
from engine.policies.contract import Policy
from engine.vocabulary import COUNTER_NAMES, LANES_MAX

_EXHAUSTED: Final = {
    k.SLOTS_EXHAUSTED: f"{s.SLOTS} shadow pages over all lanes",
    k.TABLES_EXHAUSTED: f"{s.TABLES} guest frames that were ever page tables",
    k.ODD_EXHAUSTED: f"{s.ODD_ENTRIES} entries that differ between lanes",
}


assert RUN_NS_MAX < 1 << (s.COUNTER_PLANES - 1)


class CapacityError(RuntimeError):
    """A trace needs more room than the kernel has."""


class LaneMachine:
    """All lanes over one trace. `feed` may be called with any cut of the trace into arrays."""

    def __init__(self, policies: Sequence[Policy], guest: Guest) -> None:
        """Make the lanes.

        Raises:
            ValueError: no policy, or more than fit into a word.
        """
        if not 1 <= len(policies) <= LANES_MAX:
            raise ValueError(f"a batch has 1 to {LANES_MAX} policies, found {len(policies)}")
        self._lanes = len(policies)
        self._checks = EventChecks(guest)
        self._state: Lanes = allocate(policies, guest)
        self._record = cast(Any, self._state)
        self.windows: list[npt.NDArray[np.int64]] = []
        """Counters[lane, counter] at each WINDOW event."""

    def feed(self, events: Events) -> None:
        """Advance by events of dtype EVENT.

        Raises:
            ValueError: an event that this guest cannot make; none of the array is carried out.
            CapacityError: the trace needs more shadow pages, tables or odd entries than there is room for.
            OverflowError: the trace counts further than a counter goes, which fewer policies would not change.
        """
        self._checks.check(events)
        start = 0
        while start < len(events):
            start, why = k.advance(self._state, events, start)
            if why == k.WINDOW:
                self.windows.append(self.counters())
            elif why != k.DONE:
                raise CapacityError(f"the kernel has room for {_EXHAUSTED[why]}; put fewer policies into one batch")
        # No array of events is so long that a counter with an empty top plane could run over within it.
        if self._record["counts"][:, :, -1].any():
            raise OverflowError(f"a counter goes up to {1 << (s.COUNTER_PLANES - 1)}; divide the trace")

    def counters(self) -> npt.NDArray[np.int64]:
        """Return counters[lane, counter] so far in the order of COUNTERS."""
        totals = self.activities().sum(axis=0)
        totals[:, C_PAGES_PEAK] = self._record["lane"][s.L_PEAK, : self._lanes]
        return totals

    def activities(self) -> npt.NDArray[np.int64]:
        """Return counters[activity, lane, counter] so far; a peak belongs to no activity and is 0."""
        counts = np.zeros((s.ACTIVITIES, LANES_MAX, len(COUNTER_NAMES) + 1), dtype=np.int64)
        unslice(self._state, counts)
        counts[:, :, C_MMU_UNSYNC] -= counts[:, :, C_RESYNC]
        return np.ascontiguousarray(counts[:, : self._lanes, : len(COUNTER_NAMES)])
