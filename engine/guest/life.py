"""The system calls that make and end processes: clone, exec, exit."""

from engine.guest import constants as c
from engine.guest.areas import insert_area
from engine.guest.faults import new_user_frame, page_entry, set_page
from engine.guest.flush import load_root
from engine.guest.fork import fork_space
from engine.guest.processes import (
    add_process,
    drop_process_data,
    find_process,
    new_space,
    remember_page,
    remove_process,
    take_process_data,
)
from engine.guest.reclaim import fill_file_pages
from engine.guest.schedule import free_dead_root, switch_out
from engine.guest.state import State
from engine.guest.tables import clear_frame, ensure_table, entry_index, find_table, write_entry
from engine.guest.teardown import destroy_space, free_root
from engine.jit import array_kernel


@array_kernel
def ensure_space(state: State, vcpu: int, place: int, comm: int) -> int:
    """Return the address space of a process that turns out to be a user process; load it if it runs here."""
    world = state.globals[0]
    mm = int(state.processes[place]["mm"])
    if mm == c.NONE:
        world["activity"] = c.IN_EXEC
        mm = new_space(state, vcpu, comm)
        if mm == c.NONE:
            return mm
        state.processes[place]["mm"] = mm
    cpu = state.cpus[vcpu]
    if cpu["pid"] == state.processes[place]["pid"]:
        cpu["active_mm"] = mm
        if cpu["mm"] != mm:
            world["activity"] = c.IN_SWITCH
            load_root(state, vcpu, mm)
    return mm


@array_kernel
def clone_process(state: State, vcpu: int, place: int, child_pid: int, flags: int, comm: int) -> None:
    """Make a thread or vfork child (shares the address space) or a forked child (gets a copy)."""
    world = state.globals[0]
    stale = find_process(state, child_pid)
    parent_pid = int(state.processes[place]["pid"])
    if stale != c.NONE:
        end_stale(state, vcpu, stale)
        place = find_process(state, parent_pid)
        if place == c.NONE:
            return
    mm = int(state.processes[place]["mm"])
    world["activity"] = c.IN_FORK
    if flags & c.CLONE_VM == 0:
        parent_mm = ensure_space(state, vcpu, place, comm)
        if parent_mm == c.NONE:
            return
        world["activity"] = c.IN_FORK
        mm = fork_space(state, vcpu, parent_mm)
        if mm == c.NONE:
            return
        if flags & c.CLONE_VFORK:
            state.mms[mm]["breaks_cow"] = 1
            state.mms[parent_mm]["breaks_cow"] = 1
    elif mm != c.NONE:
        state.mms[mm]["users"] += 1
    child = add_process(state, child_pid, mm, comm)
    if not world["failure"]:
        take_process_data(state, vcpu, child)


@array_kernel
def end_stale(state: State, vcpu: int, place: int) -> None:
    """End a process whose exit the recording lost, for its pid is given anew: it exits here, and runs nowhere."""
    pid = int(state.processes[place]["pid"])
    end_process(state, vcpu, place)
    for other in range(state.globals[0]["vcpus"]):
        if state.cpus[other]["pid"] == pid:
            switch_out(state, other)


@array_kernel
def drop_space(state: State, vcpu: int, mm: int) -> int:
    """Give up one use of an address space; tear it down if it was the last, and return its root, else NONE."""
    space = state.mms[mm]
    space["users"] -= 1
    if space["users"] > 0:
        return c.NONE
    return destroy_space(state, vcpu, mm)


@array_kernel
def exec_process(state: State, vcpu: int, place: int, comm: int, stack_page: int) -> None:
    """Give a process a new address space with its argument pages; the old one goes if nobody shares it."""
    world = state.globals[0]
    old = int(state.processes[place]["mm"])
    world["activity"] = c.IN_EXEC
    mm = new_space(state, vcpu, comm)
    if mm == c.NONE:
        return
    end = min(stack_page + c.PAGE_SIZE, c.STACK_TOP)
    insert_area(state, mm, end - c.STACK_SPAN, end, 3 | c.STACK | c.PRIVATE_PAGES, 0)
    for page in range(state.knobs[0]["exec_argument_pages"]):
        va = end - (page + 1) * c.PAGE_SIZE
        table = ensure_table(state, vcpu, mm, va)
        gfn = new_user_frame(state, vcpu, mm, va)
        if table == 0 or gfn == 0:
            return
        clear_frame(state, vcpu, gfn)
        set_page(state, vcpu, mm, table, va, page_entry(gfn, 3, True))
        remember_page(state, mm, va)
    state.processes[place]["mm"] = mm
    state.processes[place]["comm"] = comm
    state.cpus[vcpu]["active_mm"] = mm
    load_root(state, vcpu, mm)
    if old != c.NONE:
        root = drop_space(state, vcpu, old)
        if root != c.NONE:
            free_root(state, vcpu, root)
    world["activity"] = c.IN_EXEC
    protect_arguments(state, vcpu, mm, end)


@array_kernel
def protect_arguments(state: State, vcpu: int, mm: int, end: int) -> None:
    """Give the argument pages the stack's final protection: XCHG and MOV, no flush (Linux setup_arg_pages)."""
    for page in range(state.knobs[0]["exec_argument_pages"]):
        va = end - (page + 1) * c.PAGE_SIZE
        table = find_table(state, state.mms[mm]["root"], va, 1)
        entry = int(state.entries[state.frames[table]["slot"], entry_index(va, 1)])
        write_entry(state, vcpu, table, entry_index(va, 1), 0, c.XCHG, 8, c.LIVE)
        write_entry(state, vcpu, table, entry_index(va, 1), entry, c.MOV, 8, c.LIVE)


@array_kernel
def end_process(state: State, vcpu: int, place: int) -> None:
    """Let a process exit: written files, address space, kernel data; the root goes at the next context switch."""
    world = state.globals[0]
    cpu = state.cpus[vcpu]
    mm = int(state.processes[place]["mm"])
    pid = int(state.processes[place]["pid"])
    if mm != c.NONE:
        fill_file_pages(state, vcpu)
        world["activity"] = c.IN_EXIT
        root = drop_space(state, vcpu, mm)
        if root != c.NONE:
            free_dead_root(state, vcpu)
            cpu["dead_root"] = root
    drop_process_data(state, vcpu, place)
    remove_process(state, place)
    if cpu["pid"] == pid:
        cpu["active_mm"] = c.NONE
        cpu["exited"] = pid
