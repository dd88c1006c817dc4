"""Unmap ranges and whole address spaces in Linux' order: entries, tables, flush, frames.

Source: mm/memory.c and mm/mmap.c of Linux 6.1 (unmap_vmas, free_pgtables, exit_mmap, tlb_finish_mmu).
"""

from engine.guest import constants as c
from engine.guest.allocator import free_frame
from engine.guest.areas import close_place, first_area_after, split_area
from engine.guest.flush import flush_range, leave_space
from engine.guest.state import State
from engine.guest.tables import (
    after_gap,
    entry_gfn,
    entry_index,
    find_table,
    is_mapped,
    release_table,
    table_below,
    write_entry,
)
from engine.jit import array_kernel


@array_kernel
def gather_frame(state: State, gfn: int) -> None:
    """Queue a frame to be freed after the flush."""
    world = state.globals[0]
    state.gather[world["gathered"]] = gfn
    world["gathered"] += 1


@array_kernel
def free_gathered(state: State, vcpu: int) -> None:
    """Free the queued frames; the first queued ends on top of the free list (release_pages turns the order round)."""
    world = state.globals[0]
    for place in range(world["gathered"] - 1, -1, -1):
        gfn = int(state.gather[place])
        if state.frames[gfn]["kind"] == c.TABLE:
            release_table(state, gfn)
        free_frame(state, vcpu, gfn)
    world["gathered"] = 0


@array_kernel
def drop_page(state: State, entry: int) -> None:
    """Give up one mapping of a frame; queue the frame if it was the last."""
    gfn = entry_gfn(entry)
    frame = state.frames[gfn]
    if frame["kind"] == c.ANONYMOUS:
        frame["references"] -= 1
        if frame["references"] == 0:
            gather_frame(state, gfn)


@array_kernel
def clear_entries(state: State, vcpu: int, mm: int, start: int, end: int, insn: int) -> int:
    """Clear the level-1 entries of a range in rising order; return how far the flush must reach, 0 if none was there.

    `insn` is MOV when the whole address space dies and XCHG otherwise.
    """
    space = state.mms[mm]
    live = c.LIVE if space["live"] else 0
    region = 1 << c.REGION_SHIFT
    va, reached = start, 0
    while va < end:
        limit = min(end, (va & ~(region - 1)) + region)
        table = find_table(state, space["root"], va, 1)
        if table == c.NONE:
            va = after_gap(state, space["root"], va)
            continue
        slot = state.frames[table]["slot"]
        for page in range(va, limit, c.PAGE_SIZE):
            place = entry_index(page, 1)
            entry = int(state.entries[slot, place])
            if is_mapped(entry):
                write_entry(state, vcpu, table, place, 0, insn, 8, live)
                space["resident"] -= 1
                drop_page(state, entry)
                if reached == 0:
                    state.globals[0]["cleared_from"] = page
                reached = page + c.PAGE_SIZE
        va = limit
    return reached


@array_kernel
def free_tables_below(state: State, vcpu: int, mm: int, va: int, level: int) -> None:
    """Unlink the table that the entry of a level leads to, and queue its frame."""
    space = state.mms[mm]
    above = find_table(state, space["root"], va, level)
    if above == c.NONE:
        return
    below = table_below(state, above, va, level)
    if below == c.NONE:
        return
    live = c.LIVE if space["live"] else 0
    write_entry(state, vcpu, above, entry_index(va, level), 0, c.MOV, 8, live)
    space["tables"] -= 1
    gather_frame(state, below)


@array_kernel
def free_tables(state: State, vcpu: int, mm: int, start: int, end: int, floor: int, ceiling: int) -> None:
    """Free the tables of a range that map nothing else between floor and ceiling (Linux free_pgd_range)."""
    region = 1 << c.REGION_SHIFT
    va = start & ~(region - 1)
    while va < end:
        following = va + region
        if find_table(state, state.mms[mm]["root"], va, 2) == c.NONE:
            following = after_gap(state, state.mms[mm]["root"], va)
        elif va >= floor and following <= ceiling:
            free_tables_below(state, vcpu, mm, va, 2)
        for level in range(3, c.TOP_LEVEL + 1):
            span = 1 << (c.PAGE_SHIFT + c.INDEX_BITS * (level - 1))
            if following < end and following & (span - 1):
                break
            first = va & ~(span - 1)
            if first >= floor and first + span <= ceiling:
                free_tables_below(state, vcpu, mm, va, level)
        va = following


@array_kernel
def remove_areas(state: State, mm: int, start: int, end: int) -> None:
    """Take the areas of a range out, splitting those that reach beyond it.

    Where there is no room to split, an area that reaches beyond one end is cut short, and one beyond both stays.
    """
    split_area(state, mm, start)
    split_area(state, mm, end)
    index = first_area_after(state, mm, start)
    if index < state.mms[mm]["areas"] and state.areas[mm, index]["start"] < start:
        if state.areas[mm, index]["end"] <= end:
            state.areas[mm, index]["end"] = start
        index += 1
    while index < state.mms[mm]["areas"] and state.areas[mm, index]["end"] <= end:
        close_place(state, mm, index)
    if index < state.mms[mm]["areas"] and state.areas[mm, index]["start"] < end:
        state.areas[mm, index]["start"] = end
    state.mms[mm]["last_area"] = 0


@array_kernel
def unmap_range(state: State, vcpu: int, mm: int, start: int, end: int) -> None:
    """Unmap a range: XCHG of each entry, tables that became empty, one flush, frames."""
    index = first_area_after(state, mm, start)
    if index == state.mms[mm]["areas"] or state.areas[mm, index]["start"] >= end:
        return
    low = max(start, int(state.areas[mm, index]["start"]))
    remove_areas(state, mm, start, end)
    reached = clear_entries(state, vcpu, mm, low, end, c.XCHG)
    after = first_area_after(state, mm, start)
    floor = int(state.areas[mm, after - 1]["end"]) if after > 0 else 0
    ceiling = c.USER_END
    if after < state.mms[mm]["areas"]:
        ceiling = int(state.areas[mm, after]["start"])
    free_tables(state, vcpu, mm, low, end, floor, ceiling)
    if reached:
        flush_range(state, vcpu, mm, int(state.globals[0]["cleared_from"]), reached)
    free_gathered(state, vcpu)


@array_kernel
def destroy_space(state: State, vcpu: int, mm: int) -> int:
    """Tear an address space down; return its root, which lives until no vCPU borrows it any more."""
    space = state.mms[mm]
    for index in range(space["areas"]):
        area = state.areas[mm, index]
        clear_entries(state, vcpu, mm, int(area["start"]), int(area["end"]), c.MOV)
    region = 1 << c.REGION_SHIFT
    index = 0
    while index < space["areas"]:
        start = int(state.areas[mm, index]["start"])
        end = int(state.areas[mm, index]["end"])
        while index + 1 < space["areas"] and state.areas[mm, index + 1]["start"] <= end + region:
            index += 1
            end = int(state.areas[mm, index]["end"])
        ceiling = int(state.areas[mm, index + 1]["start"]) if index + 1 < space["areas"] else c.USER_END
        free_tables(state, vcpu, mm, start, end, 0, ceiling)
        index += 1
    leave_space(state, mm)
    free_gathered(state, vcpu)
    world = state.globals[0]
    state.mm_stack[world["mm_top"]] = mm
    world["mm_top"] += 1
    return int(space["root"])


@array_kernel
def free_root(state: State, vcpu: int, root: int) -> None:
    """Free the root of an address space that is gone (Linux mmdrop)."""
    release_table(state, root)
    free_frame(state, vcpu, root)
