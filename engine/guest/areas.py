"""The areas (VMAs) of an address space, kept sorted in one row of an array."""

from engine.guest import constants as c
from engine.guest.state import AREAS_MAX, State
from engine.jit import array_kernel


@array_kernel
def first_area_after(state: State, mm: int, va: int) -> int:
    """Return the index of the first area that ends above an address; the number of areas if there is none."""
    row = state.areas[mm]
    low, high = 0, int(state.mms[mm]["areas"])
    while low < high:
        middle = (low + high) >> 1
        if row[middle]["end"] <= va:
            low = middle + 1
        else:
            high = middle
    return low


@array_kernel
def find_area(state: State, mm: int, va: int) -> int:
    """Return the index of the area that holds an address, or NONE."""
    space = state.mms[mm]
    last = space["last_area"]
    if last < space["areas"] and state.areas[mm, last]["start"] <= va < state.areas[mm, last]["end"]:
        return int(last)
    index = first_area_after(state, mm, va)
    if index == space["areas"] or state.areas[mm, index]["start"] > va:
        return c.NONE
    space["last_area"] = index
    return index


@array_kernel
def copy_area(state: State, mm: int, source: int, target: int) -> None:
    """Copy one area of a row to another place of it."""
    old, new = state.areas[mm, source], state.areas[mm, target]
    new["start"] = old["start"]
    new["end"] = old["end"]
    new["base"] = old["base"]
    new["file"] = old["file"]
    new["flags"] = old["flags"]


@array_kernel
def open_place(state: State, mm: int, index: int) -> None:
    """Shift the areas from an index on by one place up."""
    space = state.mms[mm]
    for place in range(space["areas"], index, -1):
        copy_area(state, mm, place - 1, place)
    space["areas"] += 1


@array_kernel
def close_place(state: State, mm: int, index: int) -> None:
    """Remove the area at an index."""
    space = state.mms[mm]
    for place in range(index, space["areas"] - 1):
        copy_area(state, mm, place + 1, place)
    space["areas"] -= 1


@array_kernel
def insert_area(state: State, mm: int, start: int, end: int, flags: int, file: int) -> int:
    """Insert an area where none is; anonymous neighbours of the same kind become one, as in Linux."""
    index = first_area_after(state, mm, start)
    keep = ~c.PRIVATE_PAGES
    full = state.mms[mm]["areas"] == AREAS_MAX
    if full and index < AREAS_MAX and state.areas[mm, index]["start"] < end:
        # There was no room to cut a hole for it: it stays a part of the area that is there.
        return index
    if index > 0:
        before = state.areas[mm, index - 1]
        alike = (before["flags"] & keep) == flags and flags & c.FILE == 0
        if (alike and before["end"] == start) or full:
            before["end"] = end
            return index - 1
    elif full:
        state.areas[mm, 0]["start"] = start
        return 0
    open_place(state, mm, index)
    area = state.areas[mm, index]
    area["start"] = start
    area["end"] = end
    area["base"] = start
    area["file"] = file
    area["flags"] = flags
    return index


@array_kernel
def split_area(state: State, mm: int, va: int) -> None:
    """Divide the area that holds an address there, unless it starts there."""
    index = find_area(state, mm, va)
    if index == c.NONE or state.areas[mm, index]["start"] == va or state.mms[mm]["areas"] == AREAS_MAX:
        return
    open_place(state, mm, index)
    copy_area(state, mm, index + 1, index)
    state.areas[mm, index]["end"] = va
    state.areas[mm, index + 1]["start"] = va


@array_kernel
def file_identity(comm: int, pages: int) -> int:
    """Name a file that no recording names: by the command that maps it and the length that it maps (assumption)."""
    return ((comm * 40503 + pages * 9973) ^ (pages >> 7)) & 0x7FFFFFFF


@array_kernel
def cache_gfn(state: State, mm: int, index: int, va: int) -> int:
    """Return the page-cache frame that holds a page of a file area: the same for every process that maps it."""
    world = state.globals[0]
    area = state.areas[mm, index]
    page = (va - area["base"]) >> c.PAGE_SHIFT
    start = (int(area["file"]) * 2654435761) & 0xFFFFFFFFFF
    if world["cache_frames"] == 0:
        return int(world["zero_gfn"])
    return int(world["cache_base"] + (start + page) % world["cache_frames"])


@array_kernel
def infer_area(state: State, mm: int, va: int, comm: int, fetch: int) -> int:
    """Make an area for an address that no operation mapped: the stack, or a private file mapping of up to 256 KiB.

    Recordings show executable mappings only, so an exec's data segments, the stack and the vdso are found this way.
    """
    page = va & ~(c.PAGE_SIZE - 1)
    next_index = first_area_after(state, mm, va)
    floor = state.areas[mm, next_index - 1]["end"] if next_index > 0 else 0
    ceiling = c.USER_END
    if next_index < state.mms[mm]["areas"]:
        ceiling = state.areas[mm, next_index]["start"]
    if va >= c.STACK_LOWEST and not fetch:
        start = max(floor, page + c.PAGE_SIZE - c.STACK_SPAN)
        return insert_area(state, mm, start, min(ceiling, page + 2 * c.PAGE_SIZE), c.PROT_ANY - 4 | c.STACK, 0)
    span = 64 * c.PAGE_SIZE
    start = max(floor, page & ~(span - 1))
    end = min(ceiling, (page & ~(span - 1)) + span)
    flags = c.PROT_ANY | c.FILE | c.INFERRED
    index = insert_area(state, mm, start, end, flags, file_identity(comm, 1))
    state.areas[mm, index]["base"] = page & ~((1 << c.REGION_SHIFT) - 1)
    return index
