"""Copy an address space as fork does, and only what fork copies.

Source: mm/memory.c of Linux 6.1 (copy_page_range, vma_needs_copy, copy_present_pte); order of stores: the recording.
"""

from engine.guest import constants as c
from engine.guest.areas import open_place
from engine.guest.flush import flush_all, forget_touches
from engine.guest.processes import new_space
from engine.guest.state import RECENT, State
from engine.guest.tables import (
    after_gap,
    ensure_table,
    entry_gfn,
    entry_index,
    find_table,
    is_mapped,
    write_entry,
)
from engine.jit import array_kernel


@array_kernel
def copy_page(state: State, vcpu: int, parent: int, source: int, target: int, place: int) -> None:
    """Copy one entry: write-protect the parent's if it is writable; the child's is read-only and old."""
    slot = state.frames[source]["slot"]
    entry = int(state.entries[slot, place])
    live = c.LIVE if state.mms[parent]["live"] else 0
    gfn = entry_gfn(entry)
    if entry & c.WRITABLE:
        entry &= ~c.WRITABLE
        if state.globals[0]["cmpxchg"]:
            write_entry(state, vcpu, source, place, entry, c.CMPXCHG, 8, live)
        else:
            write_entry(state, vcpu, source, place, entry, c.LOCK_AND, 1, live)
        forget_touches(state, gfn)
    frame = state.frames[gfn]
    if frame["kind"] == c.ANONYMOUS:
        frame["references"] += 1
    write_entry(state, vcpu, target, place, entry & ~c.ACCESSED, c.MOV, 8, 0)


@array_kernel
def copy_area_pages(state: State, vcpu: int, parent: int, child: int, index: int) -> None:
    """Copy the entries of one area, table by table."""
    area = state.areas[parent, index]
    va, end = int(area["start"]), int(area["end"])
    region = 1 << c.REGION_SHIFT
    while va < end:
        limit = min(end, (va & ~(region - 1)) + region)
        source = find_table(state, state.mms[parent]["root"], va, 1)
        if source == c.NONE:
            va = after_gap(state, state.mms[parent]["root"], va)
            continue
        target = ensure_table(state, vcpu, child, va)
        if target == 0:
            return
        slot = state.frames[source]["slot"]
        for page in range(va, limit, c.PAGE_SIZE):
            place = entry_index(page, 1)
            if is_mapped(state.entries[slot, place]):
                copy_page(state, vcpu, parent, source, target, place)
                state.mms[child]["resident"] += 1
        va = limit


@array_kernel
def copy_area_list(state: State, parent: int, child: int) -> None:
    """Copy all areas and the ring of recent pages."""
    for index in range(state.mms[parent]["areas"]):
        open_place(state, child, index)
        old, new = state.areas[parent, index], state.areas[child, index]
        new["start"] = old["start"]
        new["end"] = old["end"]
        new["base"] = old["base"]
        new["file"] = old["file"]
        new["flags"] = old["flags"]
    filled = min(int(state.mms[parent]["recent"]), RECENT)
    for place in range(filled):
        state.recent[child, place] = state.recent[parent, place]
    state.mms[child]["recent"] = state.mms[parent]["recent"]
    state.mms[child]["program_break"] = state.mms[parent]["program_break"]


@array_kernel
def fork_space(state: State, vcpu: int, parent: int) -> int:
    """Copy an address space: areas with privately written pages entry by entry, others not at all; flush the parent."""
    child = new_space(state, vcpu, int(state.mms[parent]["comm"]))
    if child == c.NONE:
        return child
    copy_area_list(state, parent, child)
    for index in range(state.mms[parent]["areas"]):
        flags = state.areas[parent, index]["flags"]
        if flags & c.PRIVATE_PAGES and not flags & c.SHARED:
            copy_area_pages(state, vcpu, parent, child, index)
    flush_all(state, vcpu, parent)
    return child
