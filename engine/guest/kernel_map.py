"""The kernel half of the guest's address space, as it stands when the trace begins."""

import numpy as np

from engine.events import EVENT, Events
from engine.guest import constants as c
from engine.guest.allocator import seed_free_lists
from engine.guest.state import State


class KernelTables:
    """Build the kernel's own tables in frames of kernel data; they are shared by all roots."""

    def __init__(self, state: State) -> None:
        """Start with an empty root."""
        self.state = state
        world = state.globals[0]
        self.next_gfn = int(world["kernel_base"]) + int(world["memmap_regions"]) * c.REGION_PAGES
        self.tables: list[int] = []
        self.root = self.add_table(c.TOP_LEVEL)

    def add_table(self, level: int) -> int:
        """Take the next frame of kernel data as a table."""
        gfn = self.next_gfn
        self.next_gfn += 1
        world = self.state.globals
        world["slot_top"] -= 1
        frame = self.state.frames[gfn]
        frame["kind"], frame["was_table"], frame["level"] = c.TABLE, 1, level
        frame["slot"] = self.state.slots[int(world["slot_top"][0])]
        self.tables.append(gfn)
        return gfn

    def set_leaf(self, va: int, gfn: int, leaf_level: int) -> None:
        """Map an address at level 1 (4 KiB) or 2 (2 MiB), with the tables above."""
        table = self.root
        for level in range(c.TOP_LEVEL, leaf_level, -1):
            index = (va >> (c.PAGE_SHIFT + c.INDEX_BITS * (level - 1))) & (c.ENTRIES - 1)
            row = self.state.entries[int(self.state.frames[table]["slot"])]
            if row[index] == 0:
                row[index] = (self.add_table(level - 1) << c.PAGE_SHIFT) | c.KERNEL_TABLE_FLAGS
            table = (int(row[index]) >> c.PAGE_SHIFT) & c.GFN_MASK
        index = (va >> (c.PAGE_SHIFT + c.INDEX_BITS * (leaf_level - 1))) & (c.ENTRIES - 1)
        flags = c.KERNEL_PAGE_FLAGS | (c.LARGE if leaf_level > 1 else 0)
        if va < c.KERNEL_TEXT:
            flags |= c.NO_EXECUTE
        self.state.entries[int(self.state.frames[table]["slot"]), index] = (gfn << c.PAGE_SHIFT) | flags

    def build(self) -> None:
        """Map the direct map, struct page, kernel stacks, the CPU entry area and the kernel image."""
        world = self.state.globals[0]
        region = 1 << c.REGION_SHIFT
        for first in range(0, int(world["pages"]), c.REGION_PAGES):
            self.set_leaf(c.DIRECT_MAP + (first << c.PAGE_SHIFT), first, 2)
        for i in range(int(world["memmap_regions"])):
            self.set_leaf(c.MEMMAP + i * region, int(world["kernel_base"]) + i * c.REGION_PAGES, 2)
        for i in range(c.KERNEL_TEXT_REGIONS):
            self.set_leaf(c.KERNEL_TEXT + i * region, c.KERNEL_TEXT_GFN + i * c.REGION_PAGES, 2)
        for i in range(c.KERNEL_STACK_PAGES):
            gfn = self.next_gfn
            self.next_gfn += 1
            self.set_leaf(c.STACK_MAP + (i << c.PAGE_SHIFT), gfn, 1)
        self.set_leaf(c.CPU_ENTRY_AREA, self.next_gfn, 1)
        self.next_gfn += 1


def power_on(state: State) -> Events:
    """Build the kernel's tables, give the free frames to the allocator, and return the events that say so."""
    world = state.globals
    frames = state.frames
    base, cache = int(world["kernel_base"][0]), int(world["cache_base"][0])
    first_free = base + int(world["kernel_frames"][0])
    frames["kind"][:first_free] = c.KERNEL
    frames["kind"][cache:] = c.CACHE
    zero = c.KERNEL_TEXT_GFN + c.KERNEL_TEXT_REGIONS * c.REGION_PAGES - 1
    frames["kind"][zero] = c.RESERVED
    world["zero_gfn"] = zero
    builder = KernelTables(state)
    builder.build()
    world["kernel_root"] = builder.root
    seed_free_lists(state, first_free, cache)
    rows = [(c.LINK, 0, gfn << c.PAGE_SHIFT, int(frames[gfn]["level"])) for gfn in builder.tables]
    for gfn in builder.tables:
        row = state.entries[int(frames[gfn]["slot"])]
        for index in np.flatnonzero(row):
            entry = int(row[index]) % (1 << 64)
            rows.append((c.CONTENT, 0, (gfn << c.PAGE_SHIFT) + int(index) * 8, entry))
    rows += [(c.CR3, vcpu, 0, builder.root << c.PAGE_SHIFT) for vcpu in range(int(world["vcpus"][0]))]
    events = np.zeros(len(rows), EVENT)
    for i, (kind, vcpu, address, value) in enumerate(rows):
        event = events[i]
        event["kind"], event["vcpu"], event["address"], event["value"] = kind, vcpu, address, value
    return events
