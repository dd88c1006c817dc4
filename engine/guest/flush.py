"""Load CR3 and flush translations, on this vCPU and on those that an inter-processor interrupt reaches."""

from engine.guest import constants as c
from engine.guest.emit import emit
from engine.guest.state import State
from engine.jit import array_kernel


@array_kernel
def load_root(state: State, vcpu: int, mm: int) -> None:
    """Load CR3 with the root of an address space, or with the kernel's own root (mm NONE)."""
    cpu = state.cpus[vcpu]
    root = state.globals[0]["kernel_root"]
    if mm != c.NONE:
        root = state.mms[mm]["root"]
        state.mms[mm]["live"] = 1
    cpu["mm"] = mm
    emit(state, vcpu, c.CR3, 0, root << c.PAGE_SHIFT)
    cpu["generation"] += 1
    cpu["fresh"] = 1
    cpu["since_ns"] = 0
    cpu["retouched"] = 0


@array_kernel
def runs(state: State, vcpu: int, mm: int) -> bool:
    """Tell whether a vCPU executes a process of an address space, rather than having it loaded lazily."""
    cpu = state.cpus[vcpu]
    if cpu["mm"] != mm or not cpu["running"]:
        return False
    return bool(cpu["active_mm"] == mm)


@array_kernel
def flush_range(state: State, vcpu: int, mm: int, start: int, end: int) -> None:
    """Flush a range wherever the address space is loaded (Linux 6.1 flush_tlb_mm_range).

    A vCPU that has it loaded without running it is not disturbed: it loads CR3 again before it runs it again.
    """
    pages = (end - start) >> c.PAGE_SHIFT
    whole = pages > state.knobs[0]["tlb_single_page_flush_ceiling"]
    for other in range(state.globals[0]["vcpus"]):
        if state.cpus[other]["mm"] != mm:
            continue
        if other != vcpu and not runs(state, other, mm):
            state.cpus[other]["mm"] = c.NONE
        elif whole:
            load_root(state, other, mm)
        else:
            for page in range(pages):
                emit(state, other, c.INVLPG, start + (page << c.PAGE_SHIFT), 0)


@array_kernel
def flush_page(state: State, vcpu: int, mm: int, va: int) -> None:
    """Flush one page: INVLPG in every Linux."""
    for other in range(state.globals[0]["vcpus"]):
        if state.cpus[other]["mm"] != mm:
            continue
        if other != vcpu and not runs(state, other, mm):
            state.cpus[other]["mm"] = c.NONE
        else:
            emit(state, other, c.INVLPG, va & ~(c.PAGE_SIZE - 1), 0)


@array_kernel
def flush_all(state: State, vcpu: int, mm: int) -> None:
    """Flush a whole address space with CR3 loads."""
    flush_range(state, vcpu, mm, 0, c.USER_END)


@array_kernel
def leave_space(state: State, mm: int) -> None:
    """Make every vCPU that still has a dying address space loaded go to the kernel's root (Linux leave_mm)."""
    for other in range(state.globals[0]["vcpus"]):
        if state.cpus[other]["mm"] == mm:
            load_root(state, other, c.NONE)


@array_kernel
def forget_touches(state: State, gfn: int) -> None:
    """Let the next access to a frame be a first touch again, because its entry changed."""
    for vcpu in range(state.globals[0]["vcpus"]):
        state.stamps[gfn, vcpu] = 0
