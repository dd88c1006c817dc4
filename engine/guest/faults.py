"""Page faults: demand paging, fault-around, copy on write.

Source: mm/memory.c of Linux 6.1 (do_anonymous_page, do_fault, do_fault_around, wp_page_copy, wp_page_reuse).
"""

from engine.guest import constants as c
from engine.guest.allocator import allocate_frame
from engine.guest.areas import cache_gfn, find_area, infer_area
from engine.guest.emit import emit_fault, emit_store, emit_touch
from engine.guest.flush import flush_page, forget_touches
from engine.guest.state import RECENT, State
from engine.guest.tables import (
    clear_frame,
    copy_frame,
    ensure_table,
    entry_gfn,
    entry_index,
    find_table,
    is_mapped,
    read_entry,
    write_entry,
)
from engine.jit import array_kernel


@array_kernel
def page_entry(gfn: int, flags: int, writable: int) -> int:
    """Build the level-1 entry of a user page: young, and dirty if it is writable."""
    entry = (gfn << c.PAGE_SHIFT) | c.PRESENT | c.USER_BIT | c.ACCESSED
    if writable:
        entry |= c.WRITABLE | c.DIRTY
    if flags & c.PROT_EXEC == 0:
        entry |= c.NO_EXECUTE
    return entry


@array_kernel
def new_user_frame(state: State, vcpu: int, mm: int, va: int) -> int:
    """Allocate a frame for a private page of an address space."""
    gfn = allocate_frame(state, vcpu, c.MOVABLE, c.ANONYMOUS)
    frame = state.frames[gfn]
    frame["owner"] = mm
    frame["va"] = va & ~(c.PAGE_SIZE - 1)
    return gfn


@array_kernel
def set_page(state: State, vcpu: int, mm: int, table: int, va: int, entry: int) -> None:
    """Set the entry of a page that has none (Linux set_pte)."""
    live = c.LIVE if state.mms[mm]["live"] else 0
    write_entry(state, vcpu, table, entry_index(va, 1), entry, c.MOV, 8, live)
    state.mms[mm]["resident"] += 1


@array_kernel
def map_file_around(state: State, vcpu: int, mm: int, index: int, table: int, va: int) -> None:
    """Map the page-cache pages around a read fault in rising order; the window starts aligned or with its area."""
    area = state.areas[mm, index]
    window = state.knobs[0]["fault_around_pages"] << c.PAGE_SHIFT
    page = va & ~(c.PAGE_SIZE - 1)
    first = max(page - page % window, int(area["start"]), page & ~((1 << c.REGION_SHIFT) - 1))
    last = min(first + window, int(area["end"]), (page | ((1 << c.REGION_SHIFT) - 1)) + 1)
    slot = state.frames[table]["slot"]
    flags = area["flags"]
    for around in range(first, last, c.PAGE_SIZE):
        if not is_mapped(state.entries[slot, entry_index(around, 1)]):
            gfn = cache_gfn(state, mm, index, around)
            set_page(state, vcpu, mm, table, around, page_entry(gfn, flags, False))


@array_kernel
def map_missing(state: State, vcpu: int, mm: int, index: int, va: int, write: int) -> None:
    """Map a page that is not there, as its area says."""
    world = state.globals[0]
    table = ensure_table(state, vcpu, mm, va)
    if table == 0:
        return
    area = state.areas[mm, index]
    flags = area["flags"]
    if flags & c.FILE and flags & c.SHARED and write:
        set_page(state, vcpu, mm, table, va, page_entry(cache_gfn(state, mm, index, va), flags, True))
    elif flags & c.FILE and not write:
        map_file_around(state, vcpu, mm, index, table, va)
    elif not write:
        area["flags"] |= c.PRIVATE_PAGES
        set_page(state, vcpu, mm, table, va, page_entry(world["zero_gfn"], flags, False))
    else:
        area["flags"] |= c.PRIVATE_PAGES
        gfn = new_user_frame(state, vcpu, mm, va)
        if gfn == 0:
            return
        if flags & c.FILE:
            copy_frame(state, vcpu, cache_gfn(state, mm, index, va), gfn)
        else:
            clear_frame(state, vcpu, gfn)
        set_page(state, vcpu, mm, table, va, page_entry(gfn, flags, True))


@array_kernel
def upgrade_page(state: State, vcpu: int, mm: int, table: int, va: int, entry: int) -> None:
    """Make a page writable in place."""
    live = c.LIVE if state.mms[mm]["live"] else 0
    entry |= c.WRITABLE | c.DIRTY | c.ACCESSED
    write_entry(state, vcpu, table, entry_index(va, 1), entry, c.MOV, 8, live)
    if state.knobs[0]["upgrade_invlpg"]:
        flush_page(state, vcpu, mm, va)
    forget_touches(state, entry_gfn(entry))


@array_kernel
def break_cow(state: State, vcpu: int, mm: int, index: int, table: int, va: int) -> None:
    """Serve a write to a page that is write-protected: reuse it if nobody shares it, copy it otherwise."""
    slot = state.frames[table]["slot"]
    entry = int(state.entries[slot, entry_index(va, 1)])
    old = entry_gfn(entry)
    frame = state.frames[old]
    area = state.areas[mm, index]
    shared = area["flags"] & c.SHARED
    if shared or (frame["kind"] == c.ANONYMOUS and frame["references"] == 1):
        upgrade_page(state, vcpu, mm, table, va, entry)
        return
    area["flags"] |= c.PRIVATE_PAGES
    gfn = new_user_frame(state, vcpu, mm, va)
    if gfn == 0:
        return
    if old == state.globals[0]["zero_gfn"]:
        clear_frame(state, vcpu, gfn)
    else:
        copy_frame(state, vcpu, old, gfn)
    live = c.LIVE if state.mms[mm]["live"] else 0
    write_entry(state, vcpu, table, entry_index(va, 1), 0, c.XCHG, 8, live)
    flush_page(state, vcpu, mm, va)
    write_entry(state, vcpu, table, entry_index(va, 1), page_entry(gfn, area["flags"], True), c.MOV, 8, live)
    if frame["kind"] == c.ANONYMOUS:
        frame["references"] -= 1
    forget_touches(state, old)


@array_kernel
def mark_seen(state: State, vcpu: int, mm: int, va: int, access: int) -> bool:
    """Note a touch of a mapped page, with the bits that the CPU sets in its entry; tell whether it is the first."""
    table = find_table(state, state.mms[mm]["root"], va, 1)
    slot = state.frames[table]["slot"]
    place = entry_index(va, 1)
    write = access & c.WRITE != 0
    state.entries[slot, place] |= c.ACCESSED | (c.DIRTY if write else 0)
    gfn = entry_gfn(int(state.entries[slot, place]))
    wanted = state.cpus[vcpu]["generation"] * 4 + (3 if write else 1)
    if state.stamps[gfn, vcpu] >= wanted:
        return False
    state.stamps[gfn, vcpu] = wanted
    return True


@array_kernel
def page_fault(state: State, vcpu: int, mm: int, va: int, access: int, comm: int) -> None:
    """Carry out one recorded fault; if the tables allow the access already, it is a touch only."""
    world = state.globals[0]
    write = access & c.WRITE != 0
    index = find_area(state, mm, va)
    if index == c.NONE:
        index = infer_area(state, mm, va, comm, access & c.FETCH != 0)
    entry = read_entry(state, state.mms[mm]["root"], va)
    world["activity"] = c.IN_DEMAND
    user_stores = False
    if not is_mapped(entry):
        emit_fault(state, vcpu, va, access)
        map_missing(state, vcpu, mm, index, va, write)
        user_stores = write
    elif entry & c.PRESENT == 0 or (write and entry & c.WRITABLE == 0):
        emit_fault(state, vcpu, va, access)
        world["activity"] = c.IN_COW
        table = ensure_table(state, vcpu, mm, va)
        if entry & c.PRESENT == 0:
            world["activity"] = c.IN_PROTECT
            upgrade_page(state, vcpu, mm, table, va, (entry & ~c.GLOBAL) | c.PRESENT)
        else:
            break_cow(state, vcpu, mm, index, table, va)
            user_stores = True
    if world["failure"]:
        return
    state.recent[mm, state.mms[mm]["recent"] & (RECENT - 1)] = va
    state.mms[mm]["recent"] += 1
    mark_seen(state, vcpu, mm, va, access)
    emit_touch(state, vcpu, va, access)
    if user_stores:
        show_user_stores(state, vcpu, mm, va)


@array_kernel
def show_user_stores(state: State, vcpu: int, mm: int, va: int) -> None:
    """Show the first stores of a program to a page whose frame was a table once."""
    world = state.globals[0]
    gfn = entry_gfn(read_entry(state, state.mms[mm]["root"], va))
    if not state.frames[gfn]["was_table"] or state.frames[gfn]["kind"] != c.ANONYMOUS:
        return
    world["activity"] = c.IN_REUSE
    offset = va & (c.PAGE_SIZE - 1) & ~7
    for store in range(state.knobs[0]["reuse_user_stores"]):
        address = (gfn << c.PAGE_SHIFT) + ((offset + 8 * store) & (c.PAGE_SIZE - 1))
        emit_store(state, vcpu, address, 0, c.USER_INSN, 8, c.USER_VA)
