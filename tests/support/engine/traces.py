"""Hypothesis strategies: traces of a tiny guest that does to its tables what a kernel does, and worse; and policies.

A trace is drawn as a list of steps of ten bytes; each byte decides one thing about the step, so that traces are cheap
to draw, and shrink to few steps of small numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from hypothesis import strategies as st

from engine import x86
from engine.events import Events
from engine.guests import Guest
from engine.knobs import KNOBS, Knobs, Policy
from engine.vocabulary import Access, Event, Instruction
from tests.support.engine import tiny
from tests.support.engine.tiny import PAGES, ROOTS, SMALL_BASE, TABLES, Trace, gpa, index_of
from tests.support.policies import POLICIES

T = TypeVar("T")
STEP_BYTES: Final = 10
USER_BASES: Final = (0x400000, 0x7FFF_C000_0000, 0x400000 + (1 << 21), 0x400000 + (1 << 30))
ENTRIES: Final = (0, 1, 2, 3, 7, 8, 16, 511)
INSTRUCTIONS: Final = tuple(Instruction)
LEAF_FLAGS: Final = (
    tiny.DATA,
    tiny.DATA & ~x86.DIRTY,
    tiny.DATA & ~x86.WRITABLE,
    tiny.DATA & ~x86.ACCESSED & ~x86.DIRTY,
    tiny.DATA | x86.NO_EXECUTE,
    tiny.KERNEL_DATA,
)
SMALL_VALUES: Final = {
    "flood_threshold": (0, 1, 2, 3, 4, 10, 255),
    "rep_limit": (1, 3, 8, 1024),
    "cached_roots": (0, 1, 2, 3),
    "desc_minimum": (1, 2, 12, 14, 40),
    "desc_entries": (1, 2, 4, 14),
    "pool_pages": (0, 16, 20, 26, 40, 64),
}
"""Values of the knobs that are numbers, chosen so that small traces reach the limits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyRun:
    """A guest and what it does."""

    guest: Guest
    events: Events = field(repr=False)

    @property
    def tuples(self) -> list[tuple[int, ...]]:
        """Return the events as plain tuples, for a report of a failure."""
        return [tuple(row) for row in self.events.tolist()]


class Policies(tuple[Policy, ...]):
    """Policies that a report names and does not print: a failure prints the one that matters."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} policies>"


class Step:
    """The bytes of one step, taken one by one; after the last one comes zero."""

    def __init__(self, data: bytes) -> None:
        """Start at the first byte."""
        self._rest = iter(data)

    def below(self, n: int) -> int:
        """Return a number below n."""
        return next(self._rest, 0) % n

    def of(self, options: tuple[T, ...]) -> T:
        """Return one of some options."""
        return options[self.below(len(options))]


class Doer:
    """Turns steps into events."""

    def __init__(self, guest: Guest, *, small_direct: bool, loaded: int) -> None:
        """Write the kernel's tables and one root a vCPU, of which the first `loaded` are in use."""
        self.trace = Trace()
        self.guest = guest
        self.current = [ROOTS[i % len(ROOTS)] for i in range(guest.vcpus)]
        self.trace.kernel(pages=guest.pages, small_direct=small_direct)
        for root in ROOTS:
            self.trace.root(root)
        for vcpu in range(min(loaded, guest.vcpus)):
            self.trace.add(Event.CR3, value=gpa(self.current[vcpu]), vcpu=vcpu)

    def do(self, data: bytes) -> None:
        """Append the events of one step."""
        step = Step(data)
        action = step.of(ACTIONS)
        action(self, step, step.below(self.guest.vcpus))

    def touch(self, step: Step, vcpu: int) -> None:
        """Touch a user page."""
        how = step.of((Access.READ, Access.WRITE, Access.FETCH, Access.WRITE | Access.USER_VA))
        self.trace.touch(self._user(step) + step.below(256) * 8, how | Access.USER, vcpu=vcpu)

    def touch_kernel(self, step: Step, vcpu: int) -> None:
        """Touch a page through the direct map or the kernel's small pages."""
        how = step.of((Access.READ, Access.WRITE, Access.WRITE, Access.FETCH))
        frame = step.of(PAGES + TABLES)
        small = SMALL_BASE + step.below(tiny.SMALL_PAGES + 2) * 4096
        self.trace.touch(step.of((tiny.direct(frame), small)), how, vcpu=vcpu)

    def map_page(self, step: Step, vcpu: int) -> None:
        """Map a user page as a kernel does: link what is missing, store the entry, touch the page."""
        va, table = self._user(step), self.current[vcpu]
        for level in (4, 3, 2):
            index = index_of(va, level)
            entry = self.trace.read(table, index)
            if not entry & x86.PRESENT or entry & x86.LARGE:
                child = step.of(TABLES)
                if step.below(2):
                    self._clear(child, step, vcpu, Access(0))
                entry = gpa(child) | tiny.LINK
                self.trace.store(gpa(table, index), entry, vcpu=vcpu)
            table = entry >> 12 & 0xFFFFF
            if table >= self.guest.pages:
                return
        self.trace.store(gpa(table, index_of(va, 1)), gpa(step.of(PAGES)) | step.of(LEAF_FLAGS), vcpu=vcpu)
        self.trace.touch(va, step.of((Access.READ, Access.WRITE)) | Access.USER, vcpu=vcpu)

    def store_entry(self, step: Step, vcpu: int) -> None:
        """Store any entry with any instruction of any width."""
        width = step.of((8, 8, 8, 4, 1, 2))
        offset = step.of((0, 0, 0, 1, 4, 6, 7))
        frame = step.of(TABLES + ROOTS)
        address = gpa(frame, step.of(ENTRIES)) + offset
        if (address & 4095) + width > 4096:
            address &= ~7
        self.trace.store(
            address,
            self._value(step),
            instruction=step.of(INSTRUCTIONS),
            width=width,
            access=int(step.of((Access.LIVE, Access(0)))),
            vcpu=vcpu,
        )

    def store_run(self, step: Step, vcpu: int) -> None:
        """Store the same to entries in a row, as fork and exit do, each with its own instruction."""
        instruction = step.of((Instruction.MOV, Instruction.LOCK_AND, Instruction.XCHG, Instruction.LOCK_BTR))
        width = {Instruction.LOCK_AND: 1, Instruction.LOCK_BTR: 4}.get(instruction, 8)
        table, first, value = step.of(TABLES + ROOTS), step.of(ENTRIES), self._value(step)
        for index in range(first, min(512, first + 1 + step.below(12))):
            self.trace.store(gpa(table, index), value, instruction=instruction, width=width, vcpu=vcpu)

    def clear(self, step: Step, vcpu: int) -> None:
        """Clear a page that is, was or becomes a table."""
        self._clear(step.of(TABLES), step, vcpu, step.of((Access(0), Access(0), Access.LIVE)))

    def unmap(self, step: Step, vcpu: int) -> None:
        """Clear the entry of some level on the way to a user page, with INVLPG or without."""
        va, table, lowest = self._user(step), self.current[vcpu], 1 + step.below(3)
        for level in (4, 3, 2, 1):
            if level == lowest:
                value = self._value(step) if step.below(2) else 0
                instruction = step.of((Instruction.XCHG, Instruction.MOV, Instruction.CMPXCHG))
                self.trace.store(gpa(table, index_of(va, level)), value, instruction=instruction, vcpu=vcpu)
            entry = self.trace.read(table, index_of(va, level))
            table = entry >> 12 & 0xFFFFF
            if not entry & x86.PRESENT or entry & x86.LARGE or table >= self.guest.pages:
                break
        if step.below(2):
            self.trace.add(Event.INVLPG, va, vcpu=vcpu)

    def alias_store(self, step: Step, vcpu: int) -> None:
        """Store to a table through the kernel's small pages, or announce an address that is not the table's."""
        frame = step.of(TABLES)
        alias = SMALL_BASE + (frame - tiny.SMALL_FIRST) * 4096
        address = step.of((alias, alias, alias, self._user(step)))
        index = step.of(ENTRIES)
        self.trace.touch(address + index * 8, Access.WRITE | step.of((Access.USER_VA, Access(0))), vcpu=vcpu)
        flags = int(step.of((Access.LIVE, Access(0))) | Access.USER_VA)
        instruction = step.of((Instruction.MOV, Instruction.PUSH, Instruction.USER, Instruction.SSE))
        self.trace.store(gpa(frame, index), self._value(step), instruction=instruction, access=flags, vcpu=vcpu)

    def load_cr3(self, step: Step, vcpu: int) -> None:
        """Load the same root, another, or a page that was another kind of table."""
        self.current[vcpu] = step.of((self.current[vcpu], *ROOTS, *ROOTS, *ROOTS, step.of(TABLES)))
        self.trace.add(Event.CR3, value=gpa(self.current[vcpu]), vcpu=vcpu)

    def invalidate(self, step: Step, vcpu: int) -> None:
        """Invalidate a page, or let the guest fault on one."""
        address = step.of((self._user(step), SMALL_BASE + step.below(8) * 4096, tiny.direct(step.of(PAGES))))
        kind = step.of((Event.INVLPG, Event.INVLPG, Event.GUEST_FAULT))
        self.trace.add(kind, address, vcpu=vcpu, access=int(Access.READ))

    def mark(self, step: Step, vcpu: int) -> None:
        """Flush all, run, start a window, or set memory without a store."""
        kind = step.of((Event.FLUSH_ALL, Event.RUN, Event.WINDOW, Event.CONTENT, Event.LINK))
        if kind == Event.CONTENT:
            self.trace.content(step.of(TABLES), step.of(ENTRIES), self._value(step))
        elif kind == Event.LINK:
            self.trace.link(step.of(TABLES), 1)
        else:
            self.trace.add(kind, value=1000 if kind == Event.RUN else 0, vcpu=vcpu)

    def _clear(self, frame: int, step: Step, vcpu: int, access: Access) -> None:
        instruction, width, count = step.of(
            (
                (Instruction.REP_STOS, 8, 512),
                (Instruction.REP_STOS, 1, 4096),
                (Instruction.MOV, 8, 512),
                (Instruction.REP_MOVS, 8, 20),
                (Instruction.STOS, 8, 5),
                (Instruction.SSE, 8, 512),
            )
        )
        if frame in self.current:
            # No kernel clears a root in use, and each retry of an untagged store to one would zap it anew.
            instruction = Instruction.MOV
        self.trace.store(
            gpa(frame), 0, instruction=instruction, width=width, count=count, access=int(access), vcpu=vcpu
        )

    def _user(self, step: Step) -> int:
        return step.of(USER_BASES) + step.of((0, 0, 1, 2, 7, 8, 9, 511)) * 4096

    def _value(self, step: Step) -> int:
        kind = step.below(16)
        if kind < 6:
            return gpa(step.of(PAGES)) | step.of(LEAF_FLAGS)
        if kind < 10:
            return gpa(step.of(TABLES)) | step.of((tiny.LINK, tiny.LINK, tiny.KERNEL_LINK, tiny.LINK & ~x86.WRITABLE))
        if kind < 12:
            return gpa(512 * step.below(3)) | x86.LARGE | step.of(LEAF_FLAGS)
        if kind == 12:
            return gpa(self.guest.pages + step.below(4) * (1 << 20)) | tiny.DATA
        if kind == 13:
            return gpa(step.of(ROOTS)) | tiny.LINK
        return 0


ACTIONS: Final[tuple[Callable[[Doer, Step, int], None], ...]] = (
    Doer.touch,
    Doer.map_page,
    Doer.touch,
    Doer.map_page,
    Doer.touch_kernel,
    Doer.store_entry,
    Doer.store_run,
    Doer.clear,
    Doer.unmap,
    Doer.alias_store,
    Doer.load_cr3,
    Doer.load_cr3,
    Doer.invalidate,
    Doer.mark,
    Doer.map_page,
    Doer.store_entry,
)
"""What a step may do; what a guest does often is named more than once."""


@st.composite
def runs(draw: st.DrawFn, *, steps_max: int = 60) -> TinyRun:
    """Draw a guest of 4 to 16 MiB and what it does."""
    shape = Step(draw(st.binary(min_size=5, max_size=5)))
    guest = Guest(vcpus=1 + shape.below(4), memory_mib=shape.of((4, 6, 16)))
    doer = Doer(guest, small_direct=shape.below(3) == 2, loaded=4 - shape.below(8) // 7)
    for data in draw(st.lists(st.binary(min_size=STEP_BYTES, max_size=STEP_BYTES), min_size=10, max_size=steps_max)):
        doer.do(data)
    return TinyRun(guest=guest, events=tiny.spread_activities(doer.trace.events(), 1 + shape.below(8)))


def knob_values(name: str) -> tuple[object, ...]:
    """Return the values of a knob that tiny traces can tell apart."""
    info = KNOBS[name]
    if info.type == "integer" and name not in SMALL_VALUES:
        first = int(info.minimum or 0)
        return tuple(sorted({info.default, *(min(first + more, info.maximum or first + more) for more in range(4))}))
    return SMALL_VALUES.get(name) or info.choices or (False, True)


@st.composite
def policies(draw: st.DrawFn, *, count: int = 20) -> Policies:
    """Draw every registered policy and `count` others with any combination of knobs."""
    others = []
    for number in range(count):
        step = Step(draw(st.binary(min_size=len(KNOBS), max_size=len(KNOBS))))
        values: dict[str, Any] = {name: step.of(knob_values(name)) for name in KNOBS}
        # Nearly every lane shadows: what does not has nothing to compare.
        values["shadow"] = values["shadow"] or number > 0
        others.append(Policy(name=f"any-{number}", summary="", source="", knobs=Knobs(**values)))
    return Policies((*POLICIES.values(), *others))
