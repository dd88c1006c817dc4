"""Write layer-2 traces of a tiny guest by hand: its tables, its stores, its touches."""

from typing import Final

import numpy as np

from engine.events import DIRECT_MAP_BASE, EVENT, Events
from engine.vocabulary import Access, Activity, Event, Instruction
from engine.x86 import ACCESSED, DIRTY, FOUR_LEVEL, LARGE, PRESENT, USER, WRITABLE

LINK: Final = PRESENT | WRITABLE | USER | ACCESSED
KERNEL_LINK: Final = PRESENT | WRITABLE | ACCESSED
DATA: Final = PRESENT | WRITABLE | USER | ACCESSED | DIRTY
KERNEL_DATA: Final = PRESENT | WRITABLE | ACCESSED | DIRTY

KERNEL_L3: Final = 1
DIRECT_L2: Final = 2
SMALL_L2: Final = 3
SMALL_L1: Final = 4
DIRECT_L1: Final = 8
"""First of the tables that map all memory in 4 KiB pages, in the guests that do so."""
ROOTS: Final = (24, 25, 26)
TABLES: Final = tuple(range(32, 46))
PAGES: Final = (48, 49, 50, 51, 600, 601, 602, 1023)
"""Frames of data, in both regions of 2 MiB that the smallest guest has."""
SMALL_BASE: Final = DIRECT_MAP_BASE + (1 << 30)
"""The kernel's region of 4 KiB pages: entry i maps frame `SMALL_FIRST + i`."""
SMALL_FIRST: Final = 24
SMALL_PAGES: Final = 40


def gpa(gfn: int, index: int = 0) -> int:
    """Return the address of an entry of a frame."""
    return gfn << 12 | index << 3


def index_of(va: int, level: int) -> int:
    """Return the entry of a table of `level` that translates a virtual address."""
    return FOUR_LEVEL.index_of(va, level)


def direct(gfn: int, offset: int = 0) -> int:
    """Return the address of a frame in the guest's direct map."""
    return DIRECT_MAP_BASE + (gfn << 12) + offset


class Trace:
    """Events in order, and the memory that the guest's stores leave behind."""

    def __init__(self) -> None:
        """Start with no event and memory all zero."""
        self.rows: list[tuple[int, ...]] = []
        self.memory: dict[int, dict[int, int]] = {}

    def add(self, kind: Event, address: int = 0, value: int = 0, *, vcpu: int = 0, access: int = 0) -> None:
        """Append an event that is no store."""
        self.rows.append((address, value, int(kind), vcpu, 0, 0, access, 0, 0))

    def content(self, gfn: int, index: int, value: int) -> None:
        """Set an entry without a store."""
        self.memory.setdefault(gfn, {})[index] = value
        self.add(Event.CONTENT, gpa(gfn, index), value)

    def link(self, gfn: int, level: int) -> None:
        """Announce that a frame becomes an empty table."""
        self.memory[gfn] = {}
        self.add(Event.LINK, gpa(gfn), level)

    def store(
        self,
        address: int,
        value: int = 0,
        *,
        instruction: Instruction = Instruction.MOV,
        width: int = 8,
        count: int = 1,
        access: int = int(Access.LIVE),
        vcpu: int = 0,
    ) -> None:
        """Append a store, which leaves `value` in each entry that it covers."""
        last = min(511, ((address & 4095) + width * count - 1) >> 3)
        self.memory.setdefault(address >> 12, {}).update(dict.fromkeys(range((address & 4095) >> 3, last + 1), value))
        self.rows.append((address, value, int(Event.STORE), vcpu, int(instruction), width, access, 0, count))

    def read(self, gfn: int, index: int) -> int:
        """Return an entry as the stores left it (the CPU may have set its accessed and dirty bits since)."""
        return self.memory.get(gfn, {}).get(index, 0)

    def touch(self, va: int, access: Access = Access.READ, *, vcpu: int = 0) -> None:
        """Append a touch."""
        self.add(Event.TOUCH, va, vcpu=vcpu, access=int(access))

    def kernel(self, *, pages: int, small_direct: bool = False) -> None:
        """Append the kernel's half: all memory at the direct map, and a region of 4 KiB pages."""
        for gfn, level in ((KERNEL_L3, 3), (DIRECT_L2, 2), (SMALL_L2, 2), (SMALL_L1, 1)):
            self.link(gfn, level)
        self.content(KERNEL_L3, 0, gpa(DIRECT_L2) | KERNEL_LINK)
        self.content(KERNEL_L3, 1, gpa(SMALL_L2) | KERNEL_LINK)
        self.content(SMALL_L2, 0, gpa(SMALL_L1) | KERNEL_LINK)
        for i in range(SMALL_PAGES):
            self.content(SMALL_L1, i, gpa(SMALL_FIRST + i) | KERNEL_DATA)
        for region in range(pages // 512):
            if small_direct:
                self.link(DIRECT_L1 + region, 1)
                for i in range(512):
                    self.content(DIRECT_L1 + region, i, gpa(region * 512 + i) | KERNEL_DATA)
                self.content(DIRECT_L2, region, gpa(DIRECT_L1 + region) | KERNEL_LINK)
            else:
                self.content(DIRECT_L2, region, gpa(region * 512) | KERNEL_DATA | LARGE)

    def root(self, gfn: int) -> None:
        """Append a root table that shares the kernel's half."""
        self.link(gfn, 4)
        self.content(gfn, index_of(DIRECT_MAP_BASE, 4), gpa(KERNEL_L3) | KERNEL_LINK)

    def events(self) -> Events:
        """Return all events as one array."""
        return np.array(self.rows, dtype=EVENT)


def spread_activities(events: Events, stretch: int) -> Events:
    """Return events of which each stretch belongs to another activity, some to numbers that no activity has."""
    events["activity"] = np.arange(len(events)) // stretch % (len(Activity) + 2)
    return events
