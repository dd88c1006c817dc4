"""Run time, windows and context switches."""

from engine.guest import constants as c
from engine.guest.emit import emit
from engine.guest.flush import load_root
from engine.guest.processes import find_process
from engine.guest.state import State
from engine.guest.teardown import free_root
from engine.jit import array_kernel


@array_kernel
def account_run(state: State, vcpu: int, now: int) -> None:
    """Add the time since the last operation to a vCPU that is running."""
    cpu = state.cpus[vcpu]
    if cpu["running"] and now > cpu["last_ns"]:
        run = now - cpu["last_ns"]
        cpu["pending_ns"] += run
        cpu["since_ns"] += run
        state.globals[0]["busy_ns"] += run
    cpu["last_ns"] = max(now, int(cpu["last_ns"]))


@array_kernel
def report_run(state: State, vcpu: int) -> None:
    """Emit the run time that was not yet reported."""
    cpu = state.cpus[vcpu]
    if cpu["pending_ns"] > 0:
        state.globals[0]["activity"] = c.IN_NOTHING
        emit(state, vcpu, c.RUN, 0, cpu["pending_ns"])
        cpu["pending_ns"] = 0


@array_kernel
def open_windows(state: State, now: int) -> bool:
    """Start every window that begins up to now, after the run time that belongs to the window before.

    False if the buffer is full before the last of them; the next call goes on from there.
    """
    world = state.globals[0]
    while now >= (world["window"] + 1) * world["window_ns"]:
        if world["count"] + world["vcpus"] + 1 > len(state.out):
            return False
        world["window"] += 1
        for vcpu in range(world["vcpus"]):
            account_run(state, vcpu, world["window"] * world["window_ns"])
            report_run(state, vcpu)
        world["activity"] = c.IN_NOTHING
        emit(state, 0, c.WINDOW, 0, world["window"])
    return True


@array_kernel
def switch_out(state: State, vcpu: int) -> None:
    """Stop the process that runs on a vCPU; its address space stays loaded (lazy TLB)."""
    report_run(state, vcpu)
    state.cpus[vcpu]["running"] = 0
    state.cpus[vcpu]["pid"] = c.NONE
    state.cpus[vcpu]["active_mm"] = c.NONE


@array_kernel
def switch_in(state: State, vcpu: int, pid: int) -> None:
    """Run a process; CR3 is loaded only if its address space is another one. Kernel threads have none."""
    cpu = state.cpus[vcpu]
    if cpu["running"]:
        switch_out(state, vcpu)
    cpu["pid"] = pid
    cpu["running"] = 1
    place = find_process(state, pid)
    mm = c.NONE
    if place != c.NONE:
        mm = int(state.processes[place]["mm"])
    cpu["active_mm"] = mm
    state.globals[0]["activity"] = c.IN_SWITCH
    if mm != c.NONE and cpu["mm"] != mm:
        load_root(state, vcpu, mm)
    free_dead_root(state, vcpu)


@array_kernel
def free_dead_root(state: State, vcpu: int) -> None:
    """Free the root of an address space that this vCPU was the last to borrow."""
    cpu = state.cpus[vcpu]
    if cpu["dead_root"] != c.NONE:
        free_root(state, vcpu, int(cpu["dead_root"]))
        cpu["dead_root"] = c.NONE
