"""Run queues of the generator's scheduler: what Linux 3.0's CFS does with tasks of equal weight (kernel/sched_fair.c).

Kept: virtual run time, slice = period / runnable tasks, sleepers placed half a latency before the others
(GENTLE_FAIR_SLEEPERS), a new task one slice behind (START_DEBIT), wake-up preemption by the wake-up granularity, a
woken task goes to its last vCPU if that is idle, else to any idle one, and an idle vCPU pulls from the longest queue.
A slice ends at a tick. Left out (assumption): periodic load balancing, groups, nice levels.
"""

from typing import Final

from engine.jit import kernel
from engine.operations import Operations
from engine.vocabulary import Operation
from engine.workloads import scheduler_state as at
from engine.workloads.scheduler_state import State, Tunables

_SWITCH_IN: Final = int(Operation.SWITCH_IN)
_SWITCH_OUT: Final = int(Operation.SWITCH_OUT)


@kernel
def emit(state: State, slot: int, vcpu: int, kind: int, flags: int, out: Operations, n: int) -> int:
    """Write an operation without address at the present time; return the next free index."""
    row = out[n]
    row.time_ns = state.counts[at.NOW]
    row.address = 0
    row.length = 0
    row.pid = state.processes[at.PID, slot]
    row.peer = 0
    row.flags = flags
    row.kind = kind
    row.vcpu = vcpu
    row.comm = state.processes[at.COMM, slot]
    return n + 1


@kernel
def slice_ns(state: State, tunables: Tunables, vcpu: int) -> int:
    """Return how long one task may run: the period divided among the runnable tasks."""
    runnable = state.vcpus[at.QUEUED, vcpu] + 1
    if runnable * tunables.min_granularity_ns > tunables.latency_ns:
        return tunables.min_granularity_ns
    return int(tunables.latency_ns // runnable)


@kernel
def slice_end(state: State, tunables: Tunables, vcpu: int) -> int:
    """Return the tick at which the present slice of a vCPU is over."""
    end = max(state.vcpus[at.STARTED, vcpu] + slice_ns(state, tunables, vcpu), state.counts[at.NOW] + 1)
    return int(-(-end // tunables.tick_ns) * tunables.tick_ns)


@kernel
def advance(state: State, vcpu: int) -> None:
    """Move a queue's floor of virtual run time up to its least runnable process."""
    vcpus, processes = state.vcpus, state.processes
    least = at.NEVER
    slot = vcpus[at.RUNNING, vcpu]
    if slot != at.IDLE:
        least = processes[at.VRUNTIME, slot] + state.counts[at.NOW] - vcpus[at.STARTED, vcpu]
    for i in range(vcpus[at.QUEUED, vcpu]):
        least = min(least, processes[at.VRUNTIME, state.queue[vcpu, i]])
    if least != at.NEVER and least > vcpus[at.MIN_VRUNTIME, vcpu]:
        vcpus[at.MIN_VRUNTIME, vcpu] = least


@kernel
def switch_in(state: State, tunables: Tunables, slot: int, vcpu: int, out: Operations, n: int) -> int:
    """Start to run a process on an idle vCPU."""
    now = state.counts[at.NOW]
    vcpus, processes = state.vcpus, state.processes
    processes[at.STATUS, slot] = at.ON_CPU
    processes[at.HOME, slot] = vcpu
    vcpus[at.RUNNING, vcpu] = slot
    vcpus[at.STARTED, vcpu] = now
    vcpus[at.NEXT_STEP, vcpu] = now + processes[at.DUE, slot]
    vcpus[at.SLICE_END, vcpu] = slice_end(state, tunables, vcpu) if vcpus[at.QUEUED, vcpu] > 0 else at.NEVER
    advance(state, vcpu)
    return emit(state, slot, vcpu, _SWITCH_IN, 0, out, n)


@kernel
def switch_out(state: State, vcpu: int, new_state: int, out: Operations, n: int) -> int:
    """Stop the process that runs on a vCPU."""
    now = state.counts[at.NOW]
    vcpus, processes = state.vcpus, state.processes
    slot = vcpus[at.RUNNING, vcpu]
    advance(state, vcpu)
    processes[at.DUE, slot] = max(0, vcpus[at.NEXT_STEP, vcpu] - now)
    processes[at.VRUNTIME, slot] += now - vcpus[at.STARTED, vcpu]
    processes[at.STATUS, slot] = new_state
    vcpus[at.RUNNING, vcpu] = at.IDLE
    vcpus[at.NEXT_STEP, vcpu] = at.NEVER
    vcpus[at.SLICE_END, vcpu] = at.NEVER
    return emit(state, slot, vcpu, _SWITCH_OUT, 1 if new_state == at.READY else 0, out, n)


@kernel
def enqueue(state: State, tunables: Tunables, slot: int, vcpu: int) -> None:
    """Put a ready process into a run queue."""
    vcpus, processes = state.vcpus, state.processes
    processes[at.STATUS, slot] = at.READY
    processes[at.HOME, slot] = vcpu
    state.queue[vcpu, vcpus[at.QUEUED, vcpu]] = slot
    vcpus[at.QUEUED, vcpu] += 1
    if vcpus[at.RUNNING, vcpu] != at.IDLE:
        vcpus[at.SLICE_END, vcpu] = slice_end(state, tunables, vcpu)


@kernel
def _take_leftmost(state: State, vcpu: int) -> int:
    vcpus, processes = state.vcpus, state.processes
    best = 0
    for i in range(1, vcpus[at.QUEUED, vcpu]):
        a, b = state.queue[vcpu, i], state.queue[vcpu, best]
        ahead = processes[at.VRUNTIME, a] - processes[at.VRUNTIME, b]
        if ahead < 0 or (ahead == 0 and processes[at.PID, a] < processes[at.PID, b]):
            best = i
    slot = state.queue[vcpu, best]
    vcpus[at.QUEUED, vcpu] -= 1
    state.queue[vcpu, best] = state.queue[vcpu, vcpus[at.QUEUED, vcpu]]
    return int(slot)


@kernel
def pick_next(state: State, tunables: Tunables, vcpu: int, out: Operations, n: int) -> int:
    """Run the leftmost process on an idle vCPU; pull one from the longest queue if the own is empty."""
    vcpus = state.vcpus
    source = vcpu
    if vcpus[at.QUEUED, vcpu] == 0:
        for other in range(state.vcpus.shape[1]):
            if vcpus[at.QUEUED, other] > vcpus[at.QUEUED, source]:
                source = other
        if source == vcpu:
            return n
    slot = _take_leftmost(state, source)
    state.processes[at.VRUNTIME, slot] += vcpus[at.MIN_VRUNTIME, vcpu] - vcpus[at.MIN_VRUNTIME, source]
    return switch_in(state, tunables, slot, vcpu, out, n)


@kernel
def preempt(state: State, tunables: Tunables, vcpu: int, out: Operations, n: int) -> int:
    """Take a process off its vCPU, keep it ready, and run the next one."""
    slot = state.vcpus[at.RUNNING, vcpu]
    n = switch_out(state, vcpu, at.READY, out, n)
    enqueue(state, tunables, slot, vcpu)
    return pick_next(state, tunables, vcpu, out, n)


@kernel
def end_slice(state: State, tunables: Tunables, vcpu: int, out: Operations, n: int) -> int:
    """Preempt at the end of a slice if another process is behind in virtual run time."""
    vcpus, processes = state.vcpus, state.processes
    current = processes[at.VRUNTIME, vcpus[at.RUNNING, vcpu]] + state.counts[at.NOW] - vcpus[at.STARTED, vcpu]
    for i in range(vcpus[at.QUEUED, vcpu]):
        if processes[at.VRUNTIME, state.queue[vcpu, i]] < current:
            return preempt(state, tunables, vcpu, out, n)
    waiting = vcpus[at.QUEUED, vcpu] > 0
    vcpus[at.SLICE_END, vcpu] = slice_end(state, tunables, vcpu) if waiting else at.NEVER
    return n


@kernel
def block(state: State, tunables: Tunables, vcpu: int, waits: int, register: int, out: Operations, n: int) -> int:
    """Take a process off its vCPU until something happens, and run the next one."""
    slot = state.vcpus[at.RUNNING, vcpu]
    state.processes[at.WAITS, slot] = waits
    state.processes[at.WAITS_REGISTER, slot] = register
    n = switch_out(state, vcpu, at.BLOCKED, out, n)
    if waits == at.WAITS_SLEEP:
        state.processes[at.SLEEPERS, state.counts[at.SLEEPER_COUNT]] = slot
        state.counts[at.SLEEPER_COUNT] += 1
    return pick_next(state, tunables, vcpu, out, n)


@kernel
def _idle_vcpu(state: State, preferred: int) -> int:
    if state.vcpus[at.RUNNING, preferred] == at.IDLE:
        return preferred
    for vcpu in range(state.vcpus.shape[1]):
        if state.vcpus[at.RUNNING, vcpu] == at.IDLE:
            return vcpu
    return at.IDLE


@kernel
def wake(state: State, tunables: Tunables, slot: int, out: Operations, n: int) -> int:
    """Make a blocked process ready; it may preempt what runs on its vCPU."""
    vcpus, processes, now = state.vcpus, state.processes, state.counts[at.NOW]
    processes[at.WAITS, slot] = at.NOT_WAITING
    home = processes[at.HOME, slot]
    vcpu = _idle_vcpu(state, home)
    if vcpu == at.IDLE:
        vcpu = home
    advance(state, vcpu)
    vruntime = processes[at.VRUNTIME, slot] + vcpus[at.MIN_VRUNTIME, vcpu] - vcpus[at.MIN_VRUNTIME, home]
    processes[at.VRUNTIME, slot] = max(vruntime, vcpus[at.MIN_VRUNTIME, vcpu] - tunables.latency_ns // 2)
    if vcpus[at.RUNNING, vcpu] == at.IDLE:
        return switch_in(state, tunables, slot, vcpu, out, n)
    enqueue(state, tunables, slot, vcpu)
    current = processes[at.VRUNTIME, vcpus[at.RUNNING, vcpu]] + now - vcpus[at.STARTED, vcpu]
    if current - processes[at.VRUNTIME, slot] > tunables.wakeup_granularity_ns:
        return preempt(state, tunables, vcpu, out, n)
    return n


@kernel
def start_new(state: State, tunables: Tunables, slot: int, out: Operations, n: int) -> int:
    """Make a new process ready on an idle vCPU, or else on the one with the shortest queue."""
    vcpus, processes = state.vcpus, state.processes
    vcpu = _idle_vcpu(state, 0)
    if vcpu == at.IDLE:
        vcpu = 0
        for other in range(state.vcpus.shape[1]):
            if vcpus[at.QUEUED, other] < vcpus[at.QUEUED, vcpu]:
                vcpu = other
    advance(state, vcpu)
    processes[at.VRUNTIME, slot] = vcpus[at.MIN_VRUNTIME, vcpu] + slice_ns(state, tunables, vcpu)
    if vcpus[at.RUNNING, vcpu] == at.IDLE:
        return switch_in(state, tunables, slot, vcpu, out, n)
    enqueue(state, tunables, slot, vcpu)
    return n
