"""Carry out layer-1 operations one after the other until they end or the buffer is full."""

from typing import Final

from engine.guest import constants as c
from engine.guest.faults import page_fault
from engine.guest.life import clone_process, end_process, ensure_space, exec_process
from engine.guest.mm import advise_range, map_range, protect_range, remap_range, set_break
from engine.guest.processes import add_process, find_process, take_process_data
from engine.guest.reclaim import RECLAIM_PAGES, reclaim
from engine.guest.schedule import account_run, open_windows, report_run, switch_in, switch_out
from engine.guest.state import Array, State
from engine.guest.teardown import unmap_range
from engine.guest.touches import RETOUCHES_AT_ONCE, retouch, touch_for_fault
from engine.jit import array_kernel

ROOM: Final = 8192
"""Events that an operation may emit whatever the size of its address space: touches of the kernel, new roots, an exec's
arguments, process data, and on each vCPU a CR3 load and a RUN."""
FAULT_ROOM: Final = 32
"""Events of a page fault, but for those that parameters and vCPUs multiply: fault, touch, tables, copy, entry."""
LOOK_AHEAD: Final = 2048
"""Operations after an exec that are searched for its first write to the stack, which tells where the stack is."""


@array_kernel
def space_room(state: State, pid: int) -> int:
    """Return how many events it may take to copy, change or end the address space of a process."""
    place = find_process(state, pid)
    if place == c.NONE or state.processes[place]["mm"] == c.NONE:
        return 0
    knobs = state.knobs[0]
    space = state.mms[state.processes[place]["mm"]]
    # Retouches that fault come first, and what they map counts too.
    pages = int(space["resident"]) + RETOUCHES_AT_ONCE * max(int(knobs["fault_around_pages"]), 1)
    tables = int(space["tables"]) + RETOUCHES_AT_ONCE * (c.TOP_LEVEL - 1)
    ceiling = max(int(knobs["tlb_single_page_flush_ceiling"]), 1)
    flushes = (int(space["areas"]) + 2) * ceiling * int(state.globals[0]["vcpus"])
    return 4 * pages + 8 * tables + flushes + 4 * int(knobs["file_pages_per_exit"])


@array_kernel
def room_needed(state: State, operation: Array) -> int:
    """Return how many events an operation may emit at most, windows aside."""
    knobs, vcpus = state.knobs[0], int(state.globals[0]["vcpus"])
    fault = FAULT_ROOM + int(knobs["fault_around_pages"]) + int(knobs["reuse_user_stores"]) + vcpus
    room = ROOM + RECLAIM_PAGES * (vcpus + 1) + (RETOUCHES_AT_ONCE + 1) * fault
    kind = operation["kind"]
    if kind == c.FAULT or kind == c.SWITCH_IN or kind == c.SWITCH_OUT:
        return room
    room += space_room(state, int(operation["pid"]))
    if kind == c.CLONE:
        # If the pid of the child is still alive, its exit was lost, and comes now.
        room += space_room(state, int(operation["peer"]))
    return room


@array_kernel
def stack_page_of(operations: Array, position: int, pid: int) -> int:
    """Return the page above the first stack write after an exec, where arguments lie; Linux' fixed place if none."""
    last = min(position + LOOK_AHEAD, len(operations))
    for later in range(position + 1, last):
        operation = operations[later]
        if operation["pid"] != pid:
            continue
        if operation["kind"] == c.EXEC or operation["kind"] == c.EXIT:
            break
        address = int(operation["address"])
        written = operation["flags"] & c.ERROR_WRITE != 0
        if operation["kind"] == c.FAULT and written and c.STACK_LOWEST <= address < c.USER_END - 2 * c.PAGE_SIZE:
            return (address & ~(c.PAGE_SIZE - 1)) + c.PAGE_SIZE
    return c.STACK_TOP - c.PAGE_SIZE


@array_kernel
def fault_access(flags: int) -> int:
    """Translate a page-fault error code."""
    access = c.READ
    if flags & c.ERROR_WRITE:
        access = c.WRITE
    elif flags & c.ERROR_FETCH:
        access = c.FETCH
    if flags & c.ERROR_USER:
        access |= c.USER
    return access


@array_kernel
def change_space(state: State, vcpu: int, mm: int, operation: Array) -> None:
    """Carry out an operation on one address space."""
    kind = operation["kind"]
    address, length = int(operation["address"]), int(operation["length"])
    flags, comm = int(operation["flags"]), int(operation["comm"])
    if kind == c.FAULT:
        if 0 < address < c.USER_END:
            page_fault(state, vcpu, mm, address, fault_access(flags), comm)
            state.globals[0]["activity"] = c.IN_KERNEL
            touch_for_fault(state, vcpu)
    elif kind == c.MAP:
        map_range(state, vcpu, mm, address, length, flags, comm)
    elif kind == c.PROTECT:
        protect_range(state, vcpu, mm, address, length, flags)
    elif kind == c.BRK:
        set_break(state, vcpu, mm, address)
    elif kind == c.REMAP:
        remap_range(state, vcpu, mm, address, length)
    elif kind == c.ADVISE:
        advise_range(state, vcpu, mm, address, length, flags)
    elif kind == c.UNMAP and 0 <= address < c.USER_END and length > 0:
        state.globals[0]["activity"] = c.IN_UNMAP
        start = address & ~(c.PAGE_SIZE - 1)
        end = min(start + min(length, c.USER_END) + c.PAGE_SIZE - 1, c.USER_END) & ~(c.PAGE_SIZE - 1)
        unmap_range(state, vcpu, mm, start, end)


@array_kernel
def carry_out(state: State, operations: Array, position: int) -> None:
    """Carry out one operation on the vCPU where it happened."""
    operation = operations[position]
    vcpu, pid, kind = int(operation["vcpu"]), int(operation["pid"]), operation["kind"]
    world = state.globals[0]
    cpu = state.cpus[vcpu]
    if kind == c.SWITCH_OUT:
        if cpu["pid"] == pid:
            switch_out(state, vcpu)
        return
    if kind == c.SWITCH_IN or cpu["pid"] != pid:
        if not (cpu["running"] and cpu["pid"] == pid):
            switch_in(state, vcpu, pid)
            cpu["exited"] = c.NONE
        if kind == c.SWITCH_IN:
            retouch(state, vcpu)
            return
    if cpu["exited"] == pid:
        return
    comm = int(operation["comm"])
    place = find_process(state, pid)
    if place == c.NONE:
        place = add_process(state, pid, c.NONE, comm)
        if world["failure"]:
            return
        world["activity"] = c.IN_FORK
        take_process_data(state, vcpu, place)
    retouch(state, vcpu)
    if kind == c.CLONE:
        clone_process(state, vcpu, place, int(operation["peer"]), int(operation["flags"]), comm)
    elif kind == c.EXEC:
        exec_process(state, vcpu, place, comm, stack_page_of(operations, position, pid))
    elif kind == c.EXIT:
        end_process(state, vcpu, place)
    else:
        mm = ensure_space(state, vcpu, place, comm)
        if mm != c.NONE:
            change_space(state, vcpu, mm, operation)


@array_kernel
def frames_wanted(state: State, operation: Array) -> int:
    """Return how many frames must be free before an operation: the reserve, and the tables that a fork copies."""
    wanted = int(state.knobs[0]["low_frames"])
    if operation["kind"] == c.CLONE:
        place = find_process(state, int(operation["pid"]))
        if place != c.NONE and state.processes[place]["mm"] != c.NONE:
            wanted += int(state.mms[state.processes[place]["mm"]]["tables"])
    return wanted


@array_kernel
def run_operations(state: State, operations: Array, position: int) -> tuple[int, int]:
    """Carry out operations from a position on; return a status and the position of the first one not carried out."""
    world = state.globals[0]
    while position < len(operations):
        operation = operations[position]
        now = max(int(operation["time_ns"]), int(world["now"]))
        world["now"] = now
        if not open_windows(state, now) or world["count"] + room_needed(state, operation) > len(state.out):
            return c.BUFFER_FULL, position
        vcpu = int(operation["vcpu"])
        account_run(state, vcpu, now)
        wanted = frames_wanted(state, operation)
        if world["free_frames"] < wanted:
            reclaim(state, vcpu, wanted)
        carry_out(state, operations, position)
        if world["failure"]:
            return int(world["failure"]), position
        position += 1
    return c.DONE, position


@array_kernel
def finish_run(state: State) -> None:
    """Report the run time that is left."""
    for vcpu in range(state.globals[0]["vcpus"]):
        report_run(state, vcpu)
