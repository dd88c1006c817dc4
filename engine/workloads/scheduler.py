"""The generator's scheduler: runs process templates on vCPUs and writes layer-1 operations in time order.

One event at a time, the earliest first over all vCPUs: a process's next step, the end of a time slice, or the end of a
sleep. Ties go to sleepers, then to the lower vCPU, so that equal inputs give equal bytes.
"""

from typing import Final

from engine.jit import kernel
from engine.operations import Operations
from engine.vocabulary import Operation
from engine.workloads import scheduler_state as at
from engine.workloads.scheduler_makes import create, line_ended, next_line, offer_token
from engine.workloads.scheduler_queues import block, emit, end_slice, pick_next, start_new, switch_out, wake
from engine.workloads.scheduler_state import Programs, State, Tunables
from engine.workloads.templates import LINE_REGISTER, Step

CLONE_VFORK: Final = 0x4000
MARGIN_PER_VCPU: Final = 8
"""Operations that one event can cause on each vCPU, at most."""
STALLED: Final = -1

_CLONE: Final = int(Operation.CLONE)
_EXEC: Final = int(Operation.EXEC)
_WAIT_CHILD: Final = int(Step.WAIT_CHILD)
_WAIT_SIBLING: Final = int(Step.WAIT_SIBLING)
_SLEEP: Final = int(Step.SLEEP)
_END: Final = int(Step.END)
_LINES: Final = int(Step.LINES)


@kernel
def _release(state: State, slot: int) -> None:
    """Give the slots of ended processes without children back, upwards from one."""
    processes, counts = state.processes, state.counts
    while slot != at.IDLE and processes[at.STATUS, slot] == at.GONE and processes[at.CHILDREN, slot] == 0:
        parent = processes[at.PARENT, slot]
        processes[at.STATUS, slot] = at.FREE
        processes[at.FREE_STACK, counts[at.FREE_COUNT]] = slot
        counts[at.FREE_COUNT] += 1
        if parent != at.IDLE:
            processes[at.CHILDREN, parent] -= 1
        slot = parent


@kernel
def _wake_vfork_parent(state: State, tunables: Tunables, slot: int, out: Operations, n: int) -> int:
    parent = state.processes[at.PARENT, slot]
    if parent == at.IDLE or state.processes[at.STATUS, parent] != at.BLOCKED:
        return n
    waits_for_it = state.processes[at.WAITS_REGISTER, parent] == state.processes[at.PID, slot]
    if state.processes[at.WAITS, parent] == at.WAITS_VFORK and waits_for_it:
        return wake(state, tunables, parent, out, n)
    return n


@kernel
def _wake_waiters(state: State, tunables: Tunables, slot: int, out: Operations, n: int) -> int:
    processes = state.processes
    parent, register = processes[at.PARENT, slot], processes[at.REGISTER, slot]
    state.child_gone[parent, register] = 1
    if processes[at.STATUS, parent] == at.BLOCKED:
        if processes[at.WAITS, parent] == at.WAITS_CHILD and processes[at.WAITS_REGISTER, parent] == register:
            n = wake(state, tunables, parent, out, n)
    if processes[at.CHILDREN, parent] > 1:
        for other in range(state.processes.shape[1]):
            if processes[at.STATUS, other] == at.BLOCKED and processes[at.PARENT, other] == parent:
                if processes[at.WAITS, other] == at.WAITS_SIBLING and processes[at.WAITS_REGISTER, other] == register:
                    n = wake(state, tunables, other, out, n)
    return n


@kernel
def _end(state: State, programs: Programs, tunables: Tunables, vcpu: int, out: Operations, n: int) -> int:
    slot = state.vcpus[at.RUNNING, vcpu]
    processes = state.processes
    n = switch_out(state, vcpu, at.GONE, out, n)
    state.counts[at.LIVE] -= 1
    parent = processes[at.PARENT, slot]
    n = _wake_vfork_parent(state, tunables, slot, out, n)
    if parent == at.IDLE:
        n = offer_token(state, programs, tunables, out, n)
    elif processes[at.LINE_UNIT, slot] != at.IDLE:
        n = line_ended(state, tunables, processes[at.LINE_UNIT, slot], parent, out, n)
    else:
        n = _wake_waiters(state, tunables, slot, out, n)
    _release(state, slot)
    if state.vcpus[at.RUNNING, vcpu] == at.IDLE:
        n = pick_next(state, tunables, vcpu, out, n)
    return n


@kernel
def _clone(state: State, programs: Programs, tunables: Tunables, vcpu: int, step: int, out: Operations, n: int) -> int:
    row = programs.steps[step]
    slot = state.vcpus[at.RUNNING, vcpu]
    child = create(state, programs, int(row.length), slot, int(row.address))
    if row.address == LINE_REGISTER:
        state.processes[at.LINE_UNIT, child] = state.processes[at.CURRENT_DRAW, slot]
    suspends = row.flags & CLONE_VFORK
    flags = int(row.flags)
    if suspends:
        flags = flags & ~tunables.vfork_flags
    n = emit(state, slot, vcpu, _CLONE, flags, out, n)
    out[n - 1].peer = state.processes[at.PID, child]
    n = start_new(state, tunables, child, out, n)
    if suspends:
        n = block(state, tunables, vcpu, at.WAITS_VFORK, state.processes[at.PID, child], out, n)
    return n


@kernel
def _advance_cursor(state: State, programs: Programs, vcpu: int) -> int:
    """Move the process of a vCPU past its present step; return that step."""
    slot = state.vcpus[at.RUNNING, vcpu]
    step = state.processes[at.CURSOR, slot]
    following = step + 1
    if following == state.processes[at.SEGMENT_END, slot]:
        state.processes[at.SEGMENT_END, slot] = at.IDLE
        following = programs.lines_step
    state.processes[at.CURSOR, slot] = following
    run_ns = 0
    if programs.steps[step].kind != _END:
        run_ns = programs.steps[following].run_ns
    state.vcpus[at.NEXT_STEP, vcpu] = state.counts[at.NOW] + run_ns
    return int(step)


@kernel
def _lines(state: State, programs: Programs, tunables: Tunables, vcpu: int, out: Operations, n: int) -> int:
    slot = state.vcpus[at.RUNNING, vcpu]
    choice, given_back = next_line(state, programs, slot)
    if choice == 0:
        state.vcpus[at.NEXT_STEP, vcpu] = state.counts[at.NOW] + programs.steps[state.processes[at.CURSOR, slot]].run_ns
    elif choice == 1:
        _advance_cursor(state, programs, vcpu)
    else:
        n = block(state, tunables, vcpu, at.WAITS_LINE, 0, out, n)
    for _ in range(given_back):
        n = offer_token(state, programs, tunables, out, n)
    return n


@kernel
def _special(state: State, programs: Programs, tunables: Tunables, vcpu: int, out: Operations, n: int) -> int:
    """Do a step that may change who runs."""
    processes = state.processes
    slot = state.vcpus[at.RUNNING, vcpu]
    kind = programs.steps[processes[at.CURSOR, slot]].kind
    if kind == _LINES:
        return _lines(state, programs, tunables, vcpu, out, n)
    step = _advance_cursor(state, programs, vcpu)
    register = int(programs.steps[step].address)
    if kind == _CLONE:
        return _clone(state, programs, tunables, vcpu, step, out, n)
    if kind == _END:
        return _end(state, programs, tunables, vcpu, out, n)
    if kind == _EXEC:
        processes[at.COMM, slot] = programs.steps[step].flags
        n = emit(state, slot, vcpu, _EXEC, 0, out, n)
        return _wake_vfork_parent(state, tunables, slot, out, n)
    if kind == _WAIT_CHILD:
        if state.child_gone[slot, register] == 0:
            return block(state, tunables, vcpu, at.WAITS_CHILD, register, out, n)
        return n
    if kind == _WAIT_SIBLING:
        if state.child_gone[processes[at.PARENT, slot], register] == 0:
            return block(state, tunables, vcpu, at.WAITS_SIBLING, register, out, n)
        return n
    sleep = min(int(programs.steps[step].length), tunables.sleep_ns_max)
    processes[at.WAKE, slot] = state.counts[at.NOW] + sleep
    return block(state, tunables, vcpu, at.WAITS_SLEEP, 0, out, n)


@kernel
def _wake_sleeper(state: State, tunables: Tunables, out: Operations, n: int) -> int:
    processes, counts = state.processes, state.counts
    best = 0
    for i in range(1, counts[at.SLEEPER_COUNT]):
        a, b = state.processes[at.SLEEPERS, i], state.processes[at.SLEEPERS, best]
        earlier = processes[at.WAKE, a] < processes[at.WAKE, b]
        if earlier or (processes[at.WAKE, a] == processes[at.WAKE, b] and processes[at.PID, a] < processes[at.PID, b]):
            best = i
    slot = state.processes[at.SLEEPERS, best]
    counts[at.SLEEPER_COUNT] -= 1
    state.processes[at.SLEEPERS, best] = state.processes[at.SLEEPERS, counts[at.SLEEPER_COUNT]]
    return wake(state, tunables, slot, out, n)


@kernel
def _first_wake(state: State) -> int:
    """Return when the first sleeper wakes, or NEVER."""
    first = at.NEVER
    for i in range(state.counts[at.SLEEPER_COUNT]):
        first = min(first, state.processes[at.WAKE, state.processes[at.SLEEPERS, i]])
    return int(first)


@kernel
def _first_vcpu(vcpus: at.Integers) -> tuple[int, int]:
    """Return the vCPU on which something happens first, the lowest of equals, and when anything happens on another."""
    found, first, second = at.IDLE, at.NEVER, at.NEVER
    for vcpu in range(vcpus.shape[1]):
        event = min(vcpus[at.NEXT_STEP, vcpu], vcpus[at.SLICE_END, vcpu])
        if event < first:
            found, first, second = vcpu, event, first
        elif event < second:
            second = event
    return found, second


@kernel
def _is_plain(kind: int) -> bool:
    return kind != _CLONE and kind != _EXEC and kind < _WAIT_CHILD


@kernel
def _run_plain(state: State, programs: Programs, out: Operations, n: int, first_wake: int) -> tuple[int, int, int]:
    """Write plain operations of all vCPUs until anything else happens.

    Returns:
        The next free index, the vCPU on which something else happens first (IDLE: nothing does), and when.
    """
    processes, vcpus, steps = state.processes, state.vcpus, programs.steps
    while True:
        vcpu, elsewhere = _first_vcpu(vcpus)
        if vcpu == at.IDLE:
            return n, vcpu, at.NEVER
        time = vcpus[at.NEXT_STEP, vcpu]
        if vcpus[at.SLICE_END, vcpu] < time or first_wake <= time:
            return n, vcpu, min(time, vcpus[at.SLICE_END, vcpu])
        slot = vcpus[at.RUNNING, vcpu]
        cursor = processes[at.CURSOR, slot]
        until = min(first_wake, max(time + 1, min(elsewhere, vcpus[at.SLICE_END, vcpu])))
        while time < until and n < len(out) and _is_plain(steps[cursor].kind):
            step, row = steps[cursor], out[n]
            row.time_ns, row.address, row.length = time, step.address, step.length
            row.pid, row.peer, row.flags = processes[at.PID, slot], 0, step.flags
            row.kind, row.vcpu, row.comm = step.kind, vcpu, processes[at.COMM, slot]
            n += 1
            cursor += 1
            time += steps[cursor].run_ns
        processes[at.CURSOR, slot] = cursor
        vcpus[at.NEXT_STEP, vcpu] = time
        if time < until:
            return n, vcpu, time


@kernel
def run(state: State, programs: Programs, tunables: Tunables, out: Operations) -> int:
    """Fill `out` with the next operations; return their number: 0 at the end, STALLED if nothing can go on."""
    counts = state.counts
    n = 0
    room = len(out) - MARGIN_PER_VCPU * (1 + state.vcpus.shape[1])
    while n < room:
        first_wake = _first_wake(state)
        n, vcpu, when = _run_plain(state, programs, out[:room], n, first_wake)
        if vcpu == at.IDLE and first_wake == at.NEVER:
            return STALLED if counts[at.LIVE] > 0 else n
        if n >= room:
            break
        counts[at.NOW] = min(when, first_wake)
        if first_wake <= when:
            n = _wake_sleeper(state, tunables, out, n)
        elif state.vcpus[at.SLICE_END, vcpu] < state.vcpus[at.NEXT_STEP, vcpu]:
            n = end_slice(state, tunables, vcpu, out, n)
        else:
            n = _special(state, programs, tunables, vcpu, out, n)
    return n
