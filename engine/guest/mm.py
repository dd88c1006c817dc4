"""The system calls that change an address space: mmap, munmap, mprotect, brk, mremap, madvise."""

from engine.guest import constants as c
from engine.guest.areas import file_identity, find_area, first_area_after, insert_area, split_area
from engine.guest.flush import flush_range, forget_touches
from engine.guest.state import State
from engine.guest.tables import after_gap, entry_gfn, entry_index, find_table, is_mapped, write_entry
from engine.guest.teardown import clear_entries, free_gathered, unmap_range
from engine.jit import array_kernel


@array_kernel
def page_up(address: int) -> int:
    """Round an address up to a page."""
    return (address + c.PAGE_SIZE - 1) & ~(c.PAGE_SIZE - 1)


@array_kernel
def range_end(start: int, length: int) -> int:
    """Return the end of a range, not beyond the user half."""
    return min(page_up(start + min(max(length, 0), c.USER_END)), c.USER_END)


@array_kernel
def map_range(state: State, vcpu: int, mm: int, start: int, length: int, flags: int, comm: int) -> None:
    """Map a range; what was there is unmapped first. A mapping whose address nobody knows is found by its faults."""
    world = state.globals[0]
    world["activity"] = c.IN_MAP
    start &= ~(c.PAGE_SIZE - 1)
    end = range_end(start, length)
    if start <= 0 or end <= start:
        return
    unmap_range(state, vcpu, mm, start, end)
    kept = flags & (c.PROT_ANY | c.SHARED | c.FILE)
    file = file_identity(comm, (end - start) >> c.PAGE_SHIFT) if kept & c.FILE else 0
    insert_area(state, mm, start, end, kept, file)


@array_kernel
def protected_entry(state: State, entry: int, flags: int) -> int:
    """Return an entry after mprotect."""
    gfn = entry_gfn(entry)
    frame = state.frames[gfn]
    entry = (entry & ~(c.GLOBAL | c.WRITABLE | c.NO_EXECUTE)) | c.PRESENT
    if flags & c.PROT_EXEC == 0:
        entry |= c.NO_EXECUTE
    if flags & c.PROT_ANY == 0:
        return (entry & ~c.PRESENT) | c.GLOBAL
    own = frame["kind"] == c.ANONYMOUS and frame["references"] == 1
    if flags & c.PROT_WRITE and entry & c.DIRTY and own and state.knobs[0]["protect_restores_write"]:
        entry |= c.WRITABLE
    return entry


@array_kernel
def protect_entries(state: State, vcpu: int, mm: int, start: int, end: int, flags: int) -> int:
    """Change the entries of a range, XCHG then MOV each; return how far the flush must reach."""
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
                write_entry(state, vcpu, table, place, 0, c.XCHG, 8, live)
                write_entry(state, vcpu, table, place, protected_entry(state, entry, flags), c.MOV, 8, live)
                forget_touches(state, entry_gfn(entry))
                reached = page + c.PAGE_SIZE
        va = limit
    return reached


@array_kernel
def protect_range(state: State, vcpu: int, mm: int, start: int, length: int, protection: int) -> None:
    """Change the protection of a range, area by area; flush once for each area that had pages."""
    state.globals[0]["activity"] = c.IN_PROTECT
    start &= ~(c.PAGE_SIZE - 1)
    end = range_end(start, length)
    if start <= 0 or end <= start:
        return
    split_area(state, mm, start)
    split_area(state, mm, end)
    index = first_area_after(state, mm, start)
    while index < state.mms[mm]["areas"] and state.areas[mm, index]["start"] < end:
        area = state.areas[mm, index]
        old = area["flags"]
        flags = (old & ~c.PROT_ANY) | (protection & c.PROT_ANY)
        area["flags"] = flags
        if flags != old:
            low, high = max(start, int(area["start"])), min(end, int(area["end"]))
            reached = protect_entries(state, vcpu, mm, low, high, flags)
            if reached:
                flush_range(state, vcpu, mm, low, high)
        index += 1


@array_kernel
def set_break(state: State, vcpu: int, mm: int, address: int) -> None:
    """Move the program break; the first one seen only says where it is."""
    world = state.globals[0]
    space = state.mms[mm]
    new, old = page_up(address), int(space["program_break"])
    if address <= 0 or address >= c.STACK_LOWEST:
        return
    space["program_break"] = new
    if old == 0 or new == old:
        return
    if new < old:
        world["activity"] = c.IN_UNMAP
        unmap_range(state, vcpu, mm, new, old)
        return
    index = first_area_after(state, mm, old)
    if index < space["areas"] and state.areas[mm, index]["start"] < new:
        new = int(state.areas[mm, index]["start"])
    if new > old:
        insert_area(state, mm, old, new, 3 | c.HEAP, 0)


@array_kernel
def remap_range(state: State, vcpu: int, mm: int, start: int, length: int) -> None:
    """Resize the area at an address in place; the operation does not say where Linux moved it, if it did."""
    index = find_area(state, mm, start)
    if index == c.NONE:
        return
    area = state.areas[mm, index]
    end = range_end(start, length)
    old_end = int(area["end"])
    if end < old_end:
        state.globals[0]["activity"] = c.IN_UNMAP
        unmap_range(state, vcpu, mm, end, old_end)
        return
    ceiling = c.USER_END
    if index + 1 < state.mms[mm]["areas"]:
        ceiling = int(state.areas[mm, index + 1]["start"])
    area["end"] = min(end, ceiling)


@array_kernel
def advise_range(state: State, vcpu: int, mm: int, start: int, length: int, advice: int) -> None:
    """Carry out MADV_DONTNEED: entries and frames go, areas and tables stay. Other advice changes no table."""
    if advice not in (c.MADV_DONTNEED, c.MADV_DONTNEED_LOCKED):
        return
    state.globals[0]["activity"] = c.IN_UNMAP
    start &= ~(c.PAGE_SIZE - 1)
    end = range_end(start, length)
    index = first_area_after(state, mm, start)
    while index < state.mms[mm]["areas"] and state.areas[mm, index]["start"] < end:
        low = max(start, int(state.areas[mm, index]["start"]))
        high = min(end, int(state.areas[mm, index]["end"]))
        reached = clear_entries(state, vcpu, mm, low, high, c.XCHG)
        if reached:
            flush_range(state, vcpu, mm, int(state.globals[0]["cleared_from"]), reached)
        free_gathered(state, vcpu)
        index += 1
