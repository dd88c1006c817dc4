"""Find processes by pid: an open-addressing table, and the address spaces that processes share."""

from engine.guest import constants as c
from engine.guest.allocator import allocate_frame, free_frame
from engine.guest.state import RECENT, State
from engine.guest.tables import allocate_root, clear_frame
from engine.jit import array_kernel


@array_kernel
def home_place(state: State, pid: int) -> int:
    """Return the place where the search for a pid starts."""
    return ((pid * 2654435761) >> 7) & (len(state.processes) - 1)


@array_kernel
def find_process(state: State, pid: int) -> int:
    """Return the place of a pid, or NONE."""
    place = home_place(state, pid)
    while state.processes[place]["pid"] != c.NONE:
        if state.processes[place]["pid"] == pid:
            return place
        place = (place + 1) & (len(state.processes) - 1)
    return c.NONE


@array_kernel
def add_process(state: State, pid: int, mm: int, comm: int) -> int:
    """Enter a pid that is not in the table; note the failure if the table is nearly full."""
    world = state.globals[0]
    if 4 * world["processes"] >= 3 * len(state.processes):
        world["failure"] = c.NO_PROCESS_SLOT
        return 0
    place = home_place(state, pid)
    while state.processes[place]["pid"] != c.NONE:
        place = (place + 1) & (len(state.processes) - 1)
    process = state.processes[place]
    process["pid"] = pid
    process["mm"] = mm
    process["data"] = c.NONE
    process["comm"] = comm
    world["processes"] += 1
    return place


@array_kernel
def remove_process(state: State, place: int) -> None:
    """Take a process out of the table and close the gap, so that searches need no tombstones."""
    mask = len(state.processes) - 1
    hole = place
    probe = (place + 1) & mask
    while state.processes[probe]["pid"] != c.NONE:
        home = home_place(state, int(state.processes[probe]["pid"]))
        if ((probe - home) & mask) >= ((probe - hole) & mask):
            source, target = state.processes[probe], state.processes[hole]
            target["pid"] = source["pid"]
            target["mm"] = source["mm"]
            target["data"] = source["data"]
            target["comm"] = source["comm"]
            hole = probe
        probe = (probe + 1) & mask
    state.processes[hole]["pid"] = c.NONE
    state.globals[0]["processes"] -= 1


@array_kernel
def take_process_data(state: State, vcpu: int, place: int) -> None:
    """Allocate the kernel data of a process: frames that may have been tables."""
    head = c.NONE
    for _ in range(state.knobs[0]["process_data_pages"]):
        gfn = allocate_frame(state, vcpu, c.UNMOVABLE, c.KERNEL_DATA)
        if gfn == 0:
            break
        clear_frame(state, vcpu, gfn)
        state.frames[gfn]["next"] = head
        head = gfn
    state.processes[place]["data"] = head


@array_kernel
def drop_process_data(state: State, vcpu: int, place: int) -> None:
    """Free the kernel data of a process."""
    gfn = int(state.processes[place]["data"])
    while gfn != c.NONE:
        after = int(state.frames[gfn]["next"])
        free_frame(state, vcpu, gfn)
        gfn = after
    state.processes[place]["data"] = c.NONE


@array_kernel
def new_space(state: State, vcpu: int, comm: int) -> int:
    """Make an empty address space with a root; NONE and a noted failure if there is no room."""
    world = state.globals[0]
    if world["mm_top"] == 0:
        world["failure"] = c.NO_ADDRESS_SPACE
        return c.NONE
    root = allocate_root(state, vcpu)
    if root == 0:
        return c.NONE
    world["mm_top"] -= 1
    mm = int(state.mm_stack[world["mm_top"]])
    space = state.mms[mm]
    space["root"] = root
    space["users"] = 1
    space["comm"] = comm
    space["areas"] = 0
    space["last_area"] = 0
    space["live"] = 0
    space["breaks_cow"] = 0
    space["recent"] = 0
    space["program_break"] = 0
    space["resident"] = 0
    space["tables"] = 1
    return mm


@array_kernel
def remember_page(state: State, mm: int, va: int) -> None:
    """Put a page at the head of the ring that retouches draw from."""
    state.recent[mm, state.mms[mm]["recent"] & (RECENT - 1)] = va
    state.mms[mm]["recent"] += 1
