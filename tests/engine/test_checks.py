"""Events from a stranger: both machines refuse those that no guest can make, and count all others alike."""

from typing import Any, Final

import numpy as np
import pytest

from engine.checks import RUN_NS_MAX
from engine.core.machine import LaneMachine
from engine.events import EVENT, Events
from engine.guests import Guest
from engine.reference.machine import ReferenceMmu
from engine.vocabulary import COUNTER_INDEX, COUNTER_NAMES, Access, Event
from tests.support.engine import tiny
from tests.support.engine.tiny import Trace, gpa
from tests.support.policies import POLICIES

GUEST: Final = Guest(vcpus=2, memory_mib=4)
POLICY: Final = POLICIES["kvm-6.1"]
END: Final = GUEST.pages << 12
FUZZED: Final = 300


def machines() -> tuple[LaneMachine, ReferenceMmu]:
    """Return both machines, before the first event."""
    return LaneMachine([POLICY], GUEST), ReferenceMmu(POLICY, GUEST)


def row(kind: int, **fields: Any) -> Events:
    """Return one event."""
    event = np.zeros(1, EVENT)
    event["kind"] = kind
    for name, value in fields.items():
        event[name] = value
    return event


def store(address: int, *, width: int = 8, count: int = 1, insn: int = 0) -> Events:
    """Return one store."""
    return row(Event.STORE, address=address, width=width, count=count, insn=insn)


def trace_of_a_process() -> Events:
    """Return a small trace in which every kind of event is."""
    trace = Trace()
    trace.kernel(pages=GUEST.pages)
    trace.root(24)
    for vcpu in (0, 1):
        trace.add(Event.CR3, value=gpa(24), vcpu=vcpu)
    for table, level in ((32, 3), (33, 2), (34, 1)):
        trace.link(table, level)
    trace.store(gpa(24, 0), gpa(32) | tiny.LINK)
    trace.store(gpa(32, 0), gpa(33) | tiny.LINK)
    trace.store(gpa(33, 2), gpa(34) | tiny.LINK)
    for page in range(12):
        trace.store(gpa(34, page), gpa(48 + page) | tiny.DATA, vcpu=page & 1)
        trace.touch(0x400000 + page * 4096, Access.WRITE | Access.USER, vcpu=page & 1)
    trace.add(Event.INVLPG, 0x400000)
    trace.add(Event.GUEST_FAULT, 0x500000, access=int(Access.READ))
    trace.add(Event.RUN, value=1000)
    trace.add(Event.WINDOW, value=1)
    trace.add(Event.FLUSH_ALL)
    trace.store(gpa(34), 0, count=512, width=8)
    trace.touch(0x400000, Access.READ | Access.USER)
    return trace.events()


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (row(10), r"\(kind 10\): kind 10: allowed are kinds 0 to 9"),
        (row(255, vcpu=1), r"\(kind 255\): kind 255"),
        (row(Event.TOUCH, vcpu=2), r"\(TOUCH\): vCPU 2: guests.vcpus is 2; set it to at least 3"),
        (store(END), rf"\(STORE\): guest physical address {END:#x}: the guest's memory ends at {END:#x}"),
        (store(1 << 63), r"\(STORE\): guest physical address 0x8000000000000000: .* set guests.memory_mib"),
        (store((1 << 64) - 8), r"\(STORE\): guest physical address 0xfffffffffffffff8"),
        (row(Event.CONTENT, address=1 << 63), r"\(CONTENT\): guest physical address"),
        (row(Event.LINK, address=END, value=1), r"\(LINK\): guest physical address"),
        (row(Event.CR3, value=1 << 63), r"\(CR3\): root at 0x8000000000000000: the guest's memory ends"),
        (row(Event.CR3, value=END), r"\(CR3\): root at"),
        (store(4096, width=0), r"\(STORE\): 1 operands of 0 bytes at 0x1000: a store has at least one byte"),
        (store(4096, count=0), r"\(STORE\): 0 operands of 8 bytes at 0x1000"),
        (store(4096 - 7), r"\(STORE\): 1 operands of 8 bytes at 0xff9: .* stays in its page"),
        (store(4096, count=513), r"\(STORE\): 513 operands of 8 bytes at 0x1000"),
        (store(4096, count=65535, width=255), r"\(STORE\): 65535 operands of 255 bytes"),
        (store(4096, insn=15), r"\(STORE\): instruction 15: allowed are 0 to 14"),
        (row(Event.LINK, value=0), r"\(LINK\): level 0: allowed are levels 1 to 4"),
        (row(Event.LINK, value=5), r"\(LINK\): level 5: allowed are levels 1 to 4"),
        (row(Event.RUN, value=1 << 63), rf"\(RUN\): 9223372036854775808 ns: .* {RUN_NS_MAX} ns at most"),
        (row(Event.RUN, value=(1 << 64) - 1000), r"\(RUN\): 18446744073709550616 ns"),
        (row(Event.RUN, value=RUN_NS_MAX), r"\(RUN\): .* check the trace's times"),
        (row(Event.WINDOW, value=0), r"\(WINDOW\): window 0: window 1 has begun before"),
    ],
)
def test_events_that_no_guest_makes_are_refused(event: Events, message: str) -> None:
    """Both machines name the event by its number in the whole trace, and carry out none of its array."""
    before = trace_of_a_process()
    for machine in machines():
        machine.feed(before)
        counted = machine.counters().copy()

        with pytest.raises(ValueError, match=rf"^event {len(before) + 2} {message}"):
            machine.feed(np.concatenate([before[:2], event, before[2:]]))

        assert (machine.counters() == counted).all()


def changed(seed: int) -> Events:
    """Return the small trace with other numbers, many of them at the edge of their field, in three places."""
    random = np.random.default_rng(seed)
    events = trace_of_a_process()
    for place in random.integers(0, len(events), 3):
        name = str(random.choice(EVENT.names or ()))
        bits = 8 * EVENT[name].itemsize
        values = (0, 1, 1 << bits - 1, (1 << bits) - 1, 1 << int(random.integers(0, bits)))
        events[name][place] = values[random.integers(0, len(values))]
    return events


def outcome(machine: LaneMachine | ReferenceMmu, events: Events) -> object:
    """Return what a machine counts, or why it refuses."""
    try:
        machine.feed(events)
    except ValueError as error:
        return str(error)
    return machine.counters().ravel().tolist()


@pytest.mark.parametrize("first", range(0, FUZZED, 50))
def test_any_number_in_any_field_is_refused_or_counted(first: int) -> None:
    """A trace with another number in some field is refused by both machines, or counted alike by both."""
    for seed in range(first, first + 50):
        lanes, reference = machines()
        events = changed(seed)

        assert outcome(lanes, events) == outcome(reference, events), f"seed {seed}"


def test_run_time_fills_its_counter_and_no_other() -> None:
    """The longest run time there may be is counted exactly, over activities, and the counters beside it stay 0."""
    half = RUN_NS_MAX // 2
    events = np.concatenate([row(Event.RUN, value=half), row(Event.RUN, value=RUN_NS_MAX - half, activity=1)])
    expected = np.zeros(len(COUNTER_NAMES), np.int64)
    expected[COUNTER_INDEX["guest_run_ns"]] = RUN_NS_MAX

    for machine in machines():
        machine.feed(events)

        assert (machine.counters() == expected).all()
        with pytest.raises(ValueError, match=r"^event 2 \(RUN\): 1 ns"):
            machine.feed(row(Event.RUN, value=1))


def test_the_lane_machine_stops_at_a_wrong_event() -> None:
    """What comes before a wrong event of an array is counted, and nothing behind it is."""
    machine, before = LaneMachine([POLICY], GUEST), LaneMachine([POLICY], GUEST)
    trace = trace_of_a_process()
    before.feed(trace[:20])

    with pytest.raises(ValueError, match=r"^event 20 \(TOUCH\): vCPU 2"):
        machine.feed(np.concatenate([trace[:20], row(Event.TOUCH, vcpu=2), trace[20:]]))

    assert np.array_equal(machine.counters(), before.counters())
