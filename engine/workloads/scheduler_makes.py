"""Makes and their job server: which recipe line starts next, as GNU make 4.3 with -j does it.

A build holds one job token from its start to its end; its make runs one unit on it for nothing and takes a further
token for each further unit at once. A make reacts to ended lines first, in the order in which they ended. A token that
comes free goes to the oldest make that has units left, then to the next build.
"""

from typing import Final

from engine.jit import kernel
from engine.operations import Operations
from engine.workloads import scheduler_state as at
from engine.workloads.scheduler_queues import start_new, wake
from engine.workloads.scheduler_state import Programs, State, Tunables

STARTS_LINE: Final = 0
ENDS_BUILD: Final = 1
MAKE_WAITS: Final = 2


@kernel
def create(state: State, programs: Programs, template: int, parent: int, register: int) -> int:
    """Set up a process that has not run yet; return its slot."""
    processes, counts = state.processes, state.counts
    counts[at.FREE_COUNT] -= 1
    slot = processes[at.FREE_STACK, counts[at.FREE_COUNT]]
    processes[at.PID, slot] = counts[at.NEXT_PID]
    counts[at.NEXT_PID] += 1
    counts[at.LIVE] += 1
    processes[at.PARENT, slot] = parent
    processes[at.REGISTER, slot] = register
    processes[at.TEMPLATE, slot] = template
    processes[at.CURSOR, slot] = programs.template_start[template]
    processes[at.DUE, slot] = programs.steps[processes[at.CURSOR, slot]].run_ns
    processes[at.WAITS, slot] = at.NOT_WAITING
    processes[at.CHILDREN, slot] = 0
    processes[at.LINE_UNIT, slot] = at.IDLE
    processes[at.SEGMENT_END, slot] = at.IDLE
    processes[at.COMM, slot] = 0
    if parent != at.IDLE:
        processes[at.CHILDREN, parent] += 1
        processes[at.COMM, slot] = processes[at.COMM, parent]
        processes[at.BUILD, slot] = processes[at.BUILD, parent]
        state.child_gone[parent, register] = 0
    return int(slot)


@kernel
def start_builds(state: State, programs: Programs, tunables: Tunables, out: Operations, n: int) -> int:
    """Start builds while there are both builds and tokens."""
    counts = state.counts
    while counts[at.TOKENS] > 0 and counts[at.STARTED_BUILDS] < state.builds.shape[1]:
        counts[at.TOKENS] -= 1
        slot = create(state, programs, programs.root, at.IDLE, 0)
        state.processes[at.BUILD, slot] = counts[at.STARTED_BUILDS]
        counts[at.STARTED_BUILDS] += 1
        n = start_new(state, tunables, slot, out, n)
    return n


@kernel
def _waits_for_line(state: State, make: int) -> bool:
    blocked = state.processes[at.STATUS, make] == at.BLOCKED
    return bool(blocked and state.processes[at.WAITS, make] == at.WAITS_LINE)


@kernel
def offer_token(state: State, programs: Programs, tunables: Tunables, out: Operations, n: int) -> int:
    """Give one free token back to the job server and wake who wants it."""
    state.counts[at.TOKENS] += 1
    builds = state.builds
    for build in range(state.counts[at.STARTED_BUILDS]):
        make = builds[at.MAKE_SLOT, build]
        hungry = make != at.IDLE and builds[at.NEXT_DRAW, build] < builds[at.LAST_DRAW, build]
        if hungry and _waits_for_line(state, make):
            return wake(state, tunables, make, out, n)
    return start_builds(state, programs, tunables, out, n)


@kernel
def line_ended(state: State, tunables: Tunables, draw: int, make: int, out: Operations, n: int) -> int:
    """Tell a make that a recipe line of its build has ended."""
    builds = state.builds
    build = state.processes[at.BUILD, make]
    first, last = builds[at.FIRST_DRAW, build], builds[at.LAST_DRAW, build]
    place = (builds[at.ENDED_HEAD, build] + builds[at.ENDED_COUNT, build]) % (last - first)
    state.draws[at.ENDED, first + place] = draw
    builds[at.ENDED_COUNT, build] += 1
    if _waits_for_line(state, make):
        return wake(state, tunables, make, out, n)
    return n


@kernel
def _take_ended(state: State, build: int) -> int:
    builds = state.builds
    first, last = builds[at.FIRST_DRAW, build], builds[at.LAST_DRAW, build]
    draw = state.draws[at.ENDED, first + builds[at.ENDED_HEAD, build]]
    builds[at.ENDED_HEAD, build] = (builds[at.ENDED_HEAD, build] + 1) % (last - first)
    builds[at.ENDED_COUNT, build] -= 1
    return int(draw)


@kernel
def _begin_segment(state: State, programs: Programs, make: int, draw: int) -> None:
    unit = state.draws[at.UNIT_OF, draw]
    segment = programs.unit_segment[unit] + state.draws[at.LINE, draw]
    state.processes[at.CURRENT_DRAW, make] = draw
    state.processes[at.CURSOR, make] = programs.segment_start[segment]
    state.processes[at.SEGMENT_END, make] = programs.segment_start[segment + 1]


@kernel
def next_line(state: State, programs: Programs, make: int) -> tuple[int, int]:
    """Let a make decide at its LINES step.

    Returns:
        STARTS_LINE, ENDS_BUILD or MAKE_WAITS, and the number of tokens that it gives back.
    """
    builds, counts = state.builds, state.counts
    build = state.processes[at.BUILD, make]
    builds[at.MAKE_SLOT, build] = make
    given_back = 0
    while builds[at.ENDED_COUNT, build] > 0:
        draw = _take_ended(state, build)
        unit = state.draws[at.UNIT_OF, draw]
        state.draws[at.LINE, draw] += 1
        if state.draws[at.LINE, draw] < programs.unit_segment[unit + 1] - programs.unit_segment[unit]:
            _begin_segment(state, programs, make, draw)
            return STARTS_LINE, given_back
        builds[at.OPEN_UNITS, build] -= 1
        if builds[at.OPEN_UNITS, build] > 0:
            given_back += 1
    if builds[at.NEXT_DRAW, build] < builds[at.LAST_DRAW, build]:
        # A make's first unit runs on the token that its build holds; a token just given back serves before a new one.
        if builds[at.OPEN_UNITS, build] > 0:
            if given_back > 0:
                given_back -= 1
            elif counts[at.TOKENS] > 0:
                counts[at.TOKENS] -= 1
            else:
                return MAKE_WAITS, given_back
        draw = builds[at.NEXT_DRAW, build]
        builds[at.NEXT_DRAW, build] += 1
        builds[at.OPEN_UNITS, build] += 1
        _begin_segment(state, programs, make, draw)
        return STARTS_LINE, given_back
    if builds[at.OPEN_UNITS, build] == 0:
        builds[at.MAKE_SLOT, build] = at.IDLE
        return ENDS_BUILD, given_back
    return MAKE_WAITS, given_back
