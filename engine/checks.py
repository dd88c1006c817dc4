"""Refuse layer-2 events that no guest can make, before a machine follows a number in them out of its arrays."""

from typing import Final

import numpy as np

from engine.events import Events
from engine.guests import Guest
from engine.jit import array_kernel as kernel
from engine.vocabulary import Event, Instruction

RUN_NS_MAX: Final = (1 << 55) - 1
"""Most run time of all vCPUs together, 417 days: what the lane machine's counters hold."""
LEVELS: Final = 4

_KIND, _VCPU, _ADDRESS, _ROOT, _SPAN, _INSTRUCTION, _LEVEL, _RUN, _WINDOW = range(1, 10)
_STORE: Final = int(Event.STORE)
_CR3: Final = int(Event.CR3)
_CONTENT: Final = int(Event.CONTENT)
_LINK: Final = int(Event.LINK)
_RUN_KIND: Final = int(Event.RUN)
_WINDOW_KIND: Final = int(Event.WINDOW)
_KINDS: Final = len(Event)
_INSTRUCTIONS: Final = len(Instruction)
_PAGE: Final = 4096
_OFFSET: Final = np.uint64(_PAGE - 1)
_LEVELS: Final = np.uint64(LEVELS)
_ONE: Final = np.uint64(1)
_RUN_MAX: Final = np.uint64(RUN_NS_MAX)


@kernel
def _first_wrong(
    events: Events, memory: np.uint64, vcpus: int, run: np.uint64, window: np.uint64
) -> tuple[int, int, np.uint64, np.uint64]:
    """Return the row of the first wrong event and what is wrong, 0 if nothing; then run time and window so far."""
    for row in range(events.shape[0]):
        event = events[row]
        kind = event["kind"]
        if event["vcpu"] >= vcpus:
            return row, _VCPU, run, window
        if kind == _STORE:
            if event["address"] >= memory:
                return row, _ADDRESS, run, window
            length = np.int64(event["width"]) * np.int64(event["count"])
            if length == 0 or np.int64(event["address"] & _OFFSET) + length > _PAGE:
                return row, _SPAN, run, window
            if event["insn"] >= _INSTRUCTIONS:
                return row, _INSTRUCTION, run, window
        elif kind == _CR3:
            if event["value"] >= memory:
                return row, _ROOT, run, window
        elif kind in (_CONTENT, _LINK):
            if event["address"] >= memory:
                return row, _ADDRESS, run, window
            if kind == _LINK and not _ONE <= event["value"] <= _LEVELS:
                return row, _LEVEL, run, window
        elif kind == _RUN_KIND:
            if event["value"] > _RUN_MAX - run:
                return row, _RUN, run, window
            run += event["value"]
        elif kind == _WINDOW_KIND:
            if event["value"] < window:
                return row, _WINDOW, run, window
            window = event["value"]
        elif kind >= _KINDS:
            return row, _KIND, run, window
    return 0, 0, run, window


class EventChecks:
    """Looks at the events of one trace as they come, in any cut into arrays."""

    def __init__(self, guest: Guest) -> None:
        """Start before the first event."""
        self._guest = guest
        self._passed = 0
        self._run_ns = self._window = np.uint64(0)

    def check(self, events: Events) -> None:
        """Look at the next events of dtype EVENT.

        Raises:
            ValueError: the number of the first one that cannot be, what was found, what is allowed, what to do.
        """
        memory = np.uint64(self._guest.pages * _PAGE)
        row, wrong, run_ns, window = _first_wrong(events, memory, self._guest.vcpus, self._run_ns, self._window)
        # Compiled code hands out plain numbers.
        self._run_ns, self._window = np.uint64(run_ns), np.uint64(window)
        if wrong:
            raise ValueError(self._complaint(events[row], self._passed + row, wrong))
        self._passed += len(events)

    def _complaint(self, event: np.void, number: int, wrong: int) -> str:
        """Say which event cannot be, why, and what to do."""
        kind, address, value = int(event["kind"]), int(event["address"]), int(event["value"])
        name = Event(kind).name if kind < _KINDS else f"kind {kind}"
        memory = f"the guest's memory ends at {self._guest.pages * _PAGE:#x}; set guests.memory_mib to the recording's"
        found, allowed = {
            _KIND: (f"kind {kind}", f"allowed are kinds 0 to {_KINDS - 1}"),
            _VCPU: (
                f"vCPU {event['vcpu']}",
                f"the guest has {self._guest.vcpus} vCPUs; set guests.vcpus to at least {int(event['vcpu']) + 1}",
            ),
            _ADDRESS: (f"guest physical address {address:#x}", memory),
            _ROOT: (f"root at {value:#x}", memory),
            _SPAN: (
                f"{event['count']} operands of {event['width']} bytes at {address:#x}",
                "a store has at least one byte and stays in its page; divide it",
            ),
            _INSTRUCTION: (f"instruction {event['insn']}", f"allowed are 0 to {_INSTRUCTIONS - 1}"),
            _LEVEL: (f"level {value}", f"allowed are levels 1 to {LEVELS}"),
            _RUN: (f"{value} ns", f"all vCPUs together run for {RUN_NS_MAX} ns at most; check the trace's times"),
            _WINDOW: (f"window {value}", f"window {self._window} has begun before; windows may not go back"),
        }[wrong]
        return f"event {number} ({name}): {found}: {allowed}"
