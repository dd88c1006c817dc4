"""Refuse layer-2 events that no guest can make, before a machine follows a number in them out of its arrays."""

from enum import IntEnum
from typing import Any, Final

from engine import x86
from engine.events import Events
from engine.guests import Guest
from engine.vocabulary import Event, Instruction

RUN_NS_MAX: Final = (1 << 55) - 1
"""Most run time of all vCPUs together, 417 days: what the lane machine's counters hold."""
LEVELS: Final = x86.FOUR_LEVEL.levels

_PAGE: Final = x86.PAGE_BYTES


class Wrong(IntEnum):
    """What is wrong with an event."""

    NOTHING = 0
    KIND = 1
    VCPU = 2
    ADDRESS = 3
    ROOT = 4
    SPAN = 5
    INSTRUCTION = 6
    LEVEL = 7
    RUN = 8
    WINDOW = 9


def first_wrong(events: Events, memory: int, vcpus: int, run: int, window: int) -> tuple[int, int, int, int]:
    """Look at events one by one, plainly; `run` (ns) and `window` are those before the first event and after the last.

    The core has the same rules in core/checks.c.
    """
    names = ("kind", "vcpu", "address", "value", "count", "width", "insn")
    for row, event in enumerate(zip(*(events[name].tolist() for name in names), strict=True)):
        kind, vcpu, address, value, count, width, instruction = event
        wrong = Wrong.NOTHING
        if vcpu >= vcpus:
            wrong = Wrong.VCPU
        elif kind in {Event.STORE, Event.CONTENT, Event.LINK} and address >= memory:
            wrong = Wrong.ADDRESS
        elif kind == Event.STORE:
            wrong = _wrong_store(address % _PAGE, width * count, instruction)
        elif kind == Event.CR3:
            wrong = Wrong.ROOT if value >= memory else Wrong.NOTHING
        elif kind == Event.LINK:
            wrong = Wrong.NOTHING if 1 <= value <= LEVELS else Wrong.LEVEL
        elif kind == Event.RUN:
            wrong = Wrong.RUN if run + value > RUN_NS_MAX else Wrong.NOTHING
            run += value
        elif kind == Event.WINDOW:
            wrong = Wrong.WINDOW if value < window else Wrong.NOTHING
            window = max(window, value)
        elif kind >= len(Event):
            wrong = Wrong.KIND
        if wrong:
            return row, wrong, run, window
    return 0, Wrong.NOTHING, run, window


def _wrong_store(offset: int, length: int, instruction: int) -> Wrong:
    if length == 0 or offset + length > _PAGE:
        return Wrong.SPAN
    return Wrong.INSTRUCTION if instruction >= len(Instruction) else Wrong.NOTHING


def complaint(event: Any, number: int, wrong: int, guest: Guest, window: int) -> str:
    """Say which event of a trace this guest cannot make, why, and what to do; `window` is the one before."""
    kind, address, value = int(event["kind"]), int(event["address"]), int(event["value"])
    name = Event(kind).name if kind < len(Event) else f"kind {kind}"
    memory = f"the guest's memory ends at {guest.pages * _PAGE:#x}; set guests.memory_mib to the recording's"
    found, allowed = {
        Wrong.KIND: (f"kind {kind}", f"allowed are kinds 0 to {len(Event) - 1}"),
        Wrong.VCPU: (
            f"vCPU {event['vcpu']}",
            f"guests.vcpus is {guest.vcpus}; set it to at least {int(event['vcpu']) + 1}",
        ),
        Wrong.ADDRESS: (f"guest physical address {address:#x}", memory),
        Wrong.ROOT: (f"root at {value:#x}", memory),
        Wrong.SPAN: (
            f"{event['count']} operands of {event['width']} bytes at {address:#x}",
            "a store has at least one byte and stays in its page; divide it",
        ),
        Wrong.INSTRUCTION: (f"instruction {event['insn']}", f"allowed are 0 to {len(Instruction) - 1}"),
        Wrong.LEVEL: (f"level {value}", f"allowed are levels 1 to {LEVELS}"),
        Wrong.RUN: (f"{value} ns", f"all vCPUs together run for {RUN_NS_MAX} ns at most; check the trace's times"),
        Wrong.WINDOW: (f"window {value}", f"window {window} has begun before; windows may not go back"),
    }[Wrong(wrong)]
    return f"event {number} ({name}): {found}: {allowed}"


class EventChecks:
    """Looks at the events of one trace as they come, in any cut into arrays, before the reference does."""

    def __init__(self, guest: Guest) -> None:
        """Start before the first event."""
        self._guest = guest
        self._passed = 0
        self._run_ns = self._window = 0

    def check(self, events: Events) -> None:
        """Look at the next events of dtype EVENT.

        Raises:
            ValueError: the number of the first one that cannot be, what was found, what is allowed, what to do.
        """
        memory = self._guest.pages * _PAGE
        row, wrong, run_ns, window = first_wrong(events, memory, self._guest.vcpus, self._run_ns, self._window)
        if wrong:
            raise ValueError(complaint(events[row], self._passed + row, wrong, self._guest, window))
        self._run_ns, self._window = run_ns, window
        self._passed += len(events)
