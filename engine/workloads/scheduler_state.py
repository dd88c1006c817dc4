"""The arrays that the scheduler works on, and the names of their rows.

State is few arrays with many rows, not many arrays: numba passes each array as seven arguments and counts references,
so that many small arrays made compilation take minutes and each event cost three times as much.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.workloads.templates import REGISTERS, Templates

IDLE: Final = -1
"""No process, no slot, no build."""
NEVER: Final = 1 << 62

# Rows of processes[row, slot].
PID: Final = 0
PARENT: Final = 1
REGISTER: Final = 2
TEMPLATE: Final = 3
CURSOR: Final = 4
DUE: Final = 5
"""Run time in ns that is still to pass before the step at the cursor."""
VRUNTIME: Final = 6
STATUS: Final = 7
WAITS: Final = 8
WAITS_REGISTER: Final = 9
WAKE: Final = 10
"""When a sleeper wakes, ns."""
HOME: Final = 11
"""The vCPU that it runs on, waits for or ran on last."""
COMM: Final = 12
CHILDREN: Final = 13
"""Children whose slots are still in use."""
BUILD: Final = 14
LINE_UNIT: Final = 15
"""The draw whose recipe line this process is, or IDLE."""
SEGMENT_END: Final = 16
"""Of a make that does a segment: the step after it; else IDLE."""
CURRENT_DRAW: Final = 17
FREE_STACK: Final = 18
"""No property of the slot: a stack of free slots, counts[FREE_COUNT] high."""
SLEEPERS: Final = 19
"""No property of the slot: the slots asleep, counts[SLEEPER_COUNT] of them, in no order."""
PROCESS_ROWS: Final = 20

# Values of STATUS.
FREE: Final = 0
READY: Final = 1
ON_CPU: Final = 2
BLOCKED: Final = 3
GONE: Final = 4

# Values of WAITS.
NOT_WAITING: Final = 0
WAITS_CHILD: Final = 1
WAITS_SIBLING: Final = 2
WAITS_VFORK: Final = 3
WAITS_SLEEP: Final = 4
WAITS_LINE: Final = 5

# Rows of vcpus[row, vcpu].
RUNNING: Final = 0
NEXT_STEP: Final = 1
STARTED: Final = 2
SLICE_END: Final = 3
MIN_VRUNTIME: Final = 4
QUEUED: Final = 5
VCPU_ROWS: Final = 6

# Rows of draws[row, draw].
UNIT_OF: Final = 0
LINE: Final = 1
"""The recipe line of the unit that runs or ended last."""
ENDED: Final = 2
"""No property of the draw: from a build's first draw on, a ring of draws whose line has ended."""
DRAW_ROWS: Final = 3

# Rows of builds[row, build].
FIRST_DRAW: Final = 0
LAST_DRAW: Final = 1
NEXT_DRAW: Final = 2
ENDED_HEAD: Final = 3
ENDED_COUNT: Final = 4
OPEN_UNITS: Final = 5
MAKE_SLOT: Final = 6
BUILD_ROWS: Final = 7

# Places in counts.
TOKENS: Final = 0
NOW: Final = 1
NEXT_PID: Final = 2
STARTED_BUILDS: Final = 3
FREE_COUNT: Final = 4
SLEEPER_COUNT: Final = 5
LIVE: Final = 6
COUNTS: Final = 7

FIRST_PID: Final = 1000

Integers = npt.NDArray[np.int64]


class Programs(NamedTuple):
    """What processes do; read only. Index meanings as in `Templates`."""

    steps: npt.NDArray[np.void]
    template_start: Integers
    segment_start: Integers
    unit_segment: Integers
    root: int
    lines_step: int
    """The LINES step of the build's make."""


class Tunables(NamedTuple):
    """Scheduler constants in ns, and what is changed in the trace."""

    latency_ns: int
    min_granularity_ns: int
    wakeup_granularity_ns: int
    tick_ns: int
    sleep_ns_max: int
    vfork_flags: int
    """Flags that every CLONE with CLONE_VFORK loses in the trace; the order of processes stays as with vfork."""


class State(NamedTuple):
    """All that changes while a run is generated."""

    processes: Integers
    """Processes by slot; a slot is used again once its process and all of its children have gone."""
    child_gone: npt.NDArray[np.uint8]
    """child_gone[slot, register]: the child that was cloned into the register has ended."""
    vcpus: Integers
    queue: Integers
    """queue[vcpu, i]: slots that are ready, vcpus[QUEUED, vcpu] of them, in no order."""
    draws: Integers
    """Compile units of this run, in the order in which builds start them."""
    builds: Integers
    counts: Integers


def programs_of(templates: Templates, *, lines_step: int) -> Programs:
    """Return the part of the templates that the scheduler reads."""
    return Programs(
        templates.steps,
        templates.template_start,
        templates.segment_start,
        templates.unit_segment,
        templates.root,
        lines_step,
    )


def new_state(*, vcpus: int, slots: int, jobs: int, unit_of: Integers, builds: int, share: int) -> State:
    """Return the state before the first build starts; each build takes `share` draws, the last what remains."""
    processes = np.zeros((PROCESS_ROWS, slots), np.int64)
    processes[FREE_STACK] = np.arange(slots)[::-1]
    cpus = np.zeros((VCPU_ROWS, vcpus), np.int64)
    cpus[RUNNING], cpus[NEXT_STEP], cpus[SLICE_END] = IDLE, NEVER, NEVER
    draws = np.zeros((DRAW_ROWS, len(unit_of)), np.int64)
    draws[UNIT_OF] = unit_of
    per_build = np.zeros((BUILD_ROWS, builds), np.int64)
    per_build[FIRST_DRAW] = np.arange(builds) * share
    per_build[LAST_DRAW] = np.minimum(per_build[FIRST_DRAW] + share, len(unit_of))
    per_build[NEXT_DRAW] = per_build[FIRST_DRAW]
    per_build[MAKE_SLOT] = IDLE
    counts = np.zeros(COUNTS, np.int64)
    counts[TOKENS], counts[NEXT_PID], counts[FREE_COUNT] = jobs, FIRST_PID, slots
    return State(
        processes,
        np.zeros((slots, REGISTERS), np.uint8),
        cpus,
        np.zeros((vcpus, slots), np.int64),
        draws,
        per_build,
        counts,
    )
