"""Touch the working set again after translations were dropped: a parametric model, calibrated on a recording.

After a CR3 load a vCPU touches kernel pages at once, and user pages at a rate of its run time that falls after a burst.
User pages are drawn from the ring of recent faults, recent ones more often. Each page is touched once per CR3 load.
"""

from typing import Final

from engine.guest import constants as c
from engine.guest.areas import find_area
from engine.guest.emit import emit_touch, random_below
from engine.guest.faults import mark_seen, page_fault
from engine.guest.state import RECENT, State
from engine.guest.tables import read_entry
from engine.jit import array_kernel

RETOUCHES_AT_ONCE: Final = 512
"""Most retouches before one operation: bounds the room that an operation needs in the buffer."""
_SPREAD: Final = 1 << 16
_TEXT_REGIONS: Final = 9
_PRODUCT_MAX: Final = 1 << 62
"""Bounds a product of run time and rate, which int64 must hold."""


@array_kernel
def scatter(number: int) -> int:
    """Hash a small number to 31 bits, so that fixed sets of pages need no table."""
    number = (number * 0x9E3779B1) & 0x7FFFFFFF
    return ((number ^ (number >> 15)) * 0x85EBCA6B) & 0x7FFFFFFF


@array_kernel
def touch_kernel_image(state: State, vcpu: int) -> None:
    """Touch code and data of the kernel image."""
    world = state.globals[0]
    world["activity"] = c.IN_KERNEL
    for i in range(state.knobs[0]["kernel_image_touches"]):
        region = i % c.KERNEL_TEXT_REGIONS
        page = scatter(i + 1) % c.REGION_PAGES
        access = c.FETCH if region < _TEXT_REGIONS else (c.READ if i & 1 else c.WRITE)
        emit_touch(state, vcpu, c.KERNEL_TEXT + (region << c.REGION_SHIFT) + (page << c.PAGE_SHIFT), access)


@array_kernel
def kernel_data_page(state: State, number: int) -> int:
    """Return the direct-map address of a page of kernel data."""
    world = state.globals[0]
    skip = world["memmap_regions"] * c.REGION_PAGES
    gfn = world["kernel_base"] + skip + scatter(number) % (world["kernel_frames"] - skip)
    return c.DIRECT_MAP + (gfn << c.PAGE_SHIFT)


@array_kernel
def touch_kernel_data(state: State, vcpu: int) -> None:
    """Touch kernel data: three of four pages are always the same for a vCPU, the others are drawn."""
    for i in range(state.knobs[0]["kernel_data_touches"]):
        number = i * 64 + vcpu
        if i & 3 == 3:
            number = random_below(state, _SPREAD)
        emit_touch(state, vcpu, kernel_data_page(state, number), c.WRITE if i & 1 else c.READ)
    pid = int(state.cpus[vcpu]["pid"])
    stack = c.STACK_MAP + ((pid & (c.KERNEL_STACK_PAGES - 1)) << c.PAGE_SHIFT)
    emit_touch(state, vcpu, stack, c.WRITE)
    emit_touch(state, vcpu, c.CPU_ENTRY_AREA, c.READ)


@array_kernel
def touch_for_fault(state: State, vcpu: int) -> None:
    """Touch what the page-fault path needs besides the tables: struct page and slab pages."""
    world = state.globals[0]
    for _ in range(state.knobs[0]["kernel_fault_touches"]):
        page = random_below(state, int(world["pages"]))
        emit_touch(state, vcpu, c.MEMMAP + page * 64, c.WRITE)


@array_kernel
def touches_due(state: State, vcpu: int) -> int:
    """Return how many user pages this run interval has touched by now."""
    knobs = state.knobs[0]
    run = state.cpus[vcpu]["since_ns"]
    burst = knobs["retouch_burst_us"] * 1000
    due = knobs["retouch_pages_first"] + min(run, burst) * knobs["retouch_pages_per_ms"] // 1_000_000
    if run > burst:
        rate = knobs["retouch_pages_per_ms_later"]
        due += min(run - burst, _PRODUCT_MAX // max(rate, 1)) * rate // 1_000_000
    return int(due)


@array_kernel
def retouch_page(state: State, vcpu: int, mm: int, va: int, write: int) -> None:
    """Touch one user page if this is its first touch since the CR3 load.

    After a fork that no recording saw, pages that fork protected or did not copy fault first.
    """
    world = state.globals[0]
    entry = read_entry(state, state.mms[mm]["root"], va)
    forked = state.knobs[0]["retouch_breaks_cow"] or state.mms[mm]["breaks_cow"]
    index = find_area(state, mm, va) if forked else c.NONE
    flags = state.areas[mm, index]["flags"] if index != c.NONE else 0
    if entry == 0 and flags & c.FILE:
        page_fault(state, vcpu, mm, va, (c.FETCH if flags & c.PROT_EXEC else c.READ) | c.USER, 0)
        world["activity"] = c.IN_RETOUCH
        return
    if entry & c.PRESENT == 0:
        return
    if write and entry & c.WRITABLE == 0:
        if flags & c.PROT_WRITE and entry & c.DIRTY:
            page_fault(state, vcpu, mm, va, c.WRITE | c.USER, 0)
            world["activity"] = c.IN_RETOUCH
            return
        write = 0
    access = c.WRITE if write else (c.READ if entry & c.NO_EXECUTE else c.FETCH)
    if mark_seen(state, vcpu, mm, va, access):
        emit_touch(state, vcpu, va, access | c.USER)


@array_kernel
def retouch(state: State, vcpu: int) -> None:
    """Emit the touches that became due since the last operation of this vCPU."""
    cpu = state.cpus[vcpu]
    if cpu["fresh"]:
        cpu["fresh"] = 0
        touch_kernel_image(state, vcpu)
        touch_kernel_data(state, vcpu)
    mm = int(cpu["mm"])
    if mm == c.NONE or cpu["active_mm"] != mm or not cpu["running"]:
        return
    state.globals[0]["activity"] = c.IN_RETOUCH
    filled = min(int(state.mms[mm]["recent"]), RECENT)
    if filled == 0:
        return
    due = min(touches_due(state, vcpu), int(cpu["retouched"]) + RETOUCHES_AT_ONCE)
    due = min(due, int(cpu["retouched"]) + 2 * filled)
    while cpu["retouched"] < due and not state.globals[0]["failure"]:
        cpu["retouched"] += 1
        draw = random_below(state, _SPREAD)
        back = ((draw * draw) >> 16) * filled >> 16
        va = int(state.recent[mm, (state.mms[mm]["recent"] - 1 - back) & (RECENT - 1)])
        write = 1 if random_below(state, 100) < state.knobs[0]["retouch_write_percent"] else 0
        retouch_page(state, vcpu, mm, va, write)
