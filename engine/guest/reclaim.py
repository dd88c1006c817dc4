"""Find frames when memory runs short: written file pages first, then private pages, by a clock over the frames.

A private page that is taken away is lost to the process until it faults again; the time that swapping would cost is not
modelled. Assumption: a recording says nothing of memory pressure.
"""

from typing import Final

from engine.guest import constants as c
from engine.guest.allocator import allocate_frame, free_frame
from engine.guest.flush import flush_page
from engine.guest.state import State
from engine.guest.tables import copy_frame, entry_gfn, entry_index, find_table, write_entry
from engine.jit import array_kernel

RECLAIM_PAGES: Final = 256
"""Pages that are taken away at once at most: bounds the room that an operation needs in the buffer."""


@array_kernel
def drop_oldest_fill(state: State, vcpu: int) -> bool:
    """Free the oldest written file page, if there is one."""
    world = state.globals[0]
    if world["fills"] == 0:
        return False
    size = len(state.fills)
    gfn = int(state.fills[(world["fill_head"] - world["fills"]) % size])
    world["fills"] -= 1
    free_frame(state, vcpu, gfn)
    return True


@array_kernel
def fill_file_pages(state: State, vcpu: int) -> None:
    """Let a process write files: frames become page cache, the oldest ones are freed."""
    world = state.globals[0]
    world["activity"] = c.IN_KERNEL
    for _ in range(state.knobs[0]["file_pages_per_exit"]):
        while world["fills"] >= world["fill_limit"]:
            drop_oldest_fill(state, vcpu)
        gfn = allocate_frame(state, vcpu, c.MOVABLE, c.FILE_FILL)
        if gfn == 0:
            return
        copy_frame(state, vcpu, int(world["zero_gfn"]), gfn)
        state.fills[world["fill_head"] % len(state.fills)] = gfn
        world["fill_head"] += 1
        world["fills"] += 1


@array_kernel
def take_page_away(state: State, vcpu: int, gfn: int) -> bool:
    """Unmap and free a private page that only one address space maps."""
    world = state.globals[0]
    frame = state.frames[gfn]
    if frame["kind"] != c.ANONYMOUS or frame["references"] != 1:
        return False
    mm, va = int(frame["owner"]), int(frame["va"])
    table = find_table(state, state.mms[mm]["root"], va, 1)
    if table == c.NONE:
        return False
    place = entry_index(va, 1)
    entry = int(state.entries[state.frames[table]["slot"], place])
    if entry & c.PRESENT == 0 or entry_gfn(entry) != gfn:
        return False
    live = c.LIVE if state.mms[mm]["live"] else 0
    write_entry(state, vcpu, table, place, 0, c.XCHG, 8, live)
    flush_page(state, vcpu, mm, va)
    state.mms[mm]["resident"] -= 1
    free_frame(state, vcpu, gfn)
    world["swapped"] += 1
    return True


@array_kernel
def reclaim(state: State, vcpu: int, wanted: int) -> None:
    """Free frames until there are as many as wanted, or as many as one call may take."""
    world = state.globals[0]
    taken, steps = 0, 0
    world["activity"] = c.IN_KERNEL
    while world["free_frames"] < wanted and taken < RECLAIM_PAGES and steps < world["pages"]:
        steps += 1
        if drop_oldest_fill(state, vcpu):
            taken += 1
            continue
        world["hand"] = (world["hand"] + 1) % world["pages"]
        if take_page_away(state, vcpu, int(world["hand"])):
            taken += 1
