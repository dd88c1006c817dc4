"""The records that the scheduler works on: all state of one generated build, and what its processes do."""

from enum import IntEnum
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.workloads.templates import REGISTERS, STEP, Templates

Array = npt.NDArray[Any]

IDLE: Final = -1
"""No process, no slot, no build."""
NEVER: Final = 1 << 62
FIRST_PID: Final = 1000


class TaskStatus(IntEnum):
    """Where a process is between its creation and its end."""

    FREE = 0
    """No process: the slot may be taken."""
    READY = 1
    ON_CPU = 2
    BLOCKED = 3
    GONE = 4


class Waits(IntEnum):
    """What a blocked process waits for."""

    NOTHING = 0
    CHILD = 1
    SIBLING = 2
    VFORK = 3
    SLEEP = 4
    LINE = 5


TASK: Final = np.dtype(
    [(name, "i8") for name in ("pid", "parent", "parent_register", "cursor", "due_ns", "vruntime_ns", "status",
     "waits", "waits_for", "wake_ns", "home", "comm", "children", "build", "line_draw", "segment_end", "current_draw")]
)  # fmt: skip
"""A process by slot; the slot is used again once the process and all of its children have gone. `due_ns` is run time
that is still to pass before the step at the cursor; `home` is the vCPU that it runs on, waits for or ran on last;
`children` counts those whose slots are in use; `line_draw` is the draw whose recipe line this process is, or IDLE;
`segment_end`, of a make that does a segment, is the step after it, else IDLE."""
RUNQUEUE: Final = np.dtype(
    [(name, "i8") for name in ("running", "next_step_ns", "started_ns", "slice_end_ns", "min_vruntime_ns", "queued")]
)
"""A vCPU: the slot that runs or IDLE, when its next step is due, since when it runs, when its slice ends (NEVER if
nobody waits), the floor of virtual run time, and how many slots are ready."""
DRAW: Final = np.dtype([("unit", "i8"), ("line", "i8"), ("ended", "i8")])
"""A compile unit of this run: which recorded one it is, and the recipe line that runs or ended last. `ended` is no
property of the draw: from a build's first draw on, it is a ring of draws whose line has ended."""
BUILD: Final = np.dtype(
    [(name, "i8") for name in ("first_draw", "last_draw", "next_draw", "ended_head", "ended_count", "open_units",
     "make_slot")]
)  # fmt: skip
COUNTS: Final = np.dtype(
    [(name, "i8") for name in ("tokens", "now_ns", "next_pid", "started_builds", "free", "sleepers", "live", "failure",
     "root", "lines_step")]
)  # fmt: skip
"""Numbers of the whole run; `root` is the template that starts a build, `lines_step` where its make starts lines."""
TUNABLES: Final = np.dtype(
    [(name, "i8") for name in ("latency_ns", "min_granularity_ns", "wakeup_granularity_ns", "tick_ns", "sleep_max_ns",
     "vfork_flags")]
)  # fmt: skip
"""Scheduler constants; `vfork_flags` are those that every CLONE with CLONE_VFORK loses in the trace, the order of
processes stays as with vfork."""


class State(NamedTuple):
    """The arrays of one generated build, in the order in which C takes them."""

    tasks: Array
    child_gone: npt.NDArray[np.uint8]
    """child_gone[slot, register]: the child that was cloned into the register has ended."""
    runqueues: Array
    queues: npt.NDArray[np.int32]
    """queues[vcpu, i]: slots that are ready, runqueues[vcpu].queued of them, in no order."""
    draws: Array
    """Compile units of this run, in the order in which builds start them."""
    builds: Array
    free_slots: npt.NDArray[np.int32]
    """Stack of free slots, counts.free high."""
    sleepers: npt.NDArray[np.int32]
    """Slots that sleep, counts.sleepers of them, in no order."""
    counts: Array
    tunables: Array
    steps: Array
    """What processes do; index meanings as in `Templates`, also of the following three."""
    template_start: npt.NDArray[np.int64]
    segment_start: npt.NDArray[np.int64]
    unit_segment: npt.NDArray[np.int64]


def new_state(
    templates: Templates,
    *,
    vcpus: int,
    slots: int,
    jobs: int,
    unit_of: npt.NDArray[np.int64],
    builds: int,
    lines_step: int,
    tunables: dict[str, int],
) -> State:
    """Return the state before the first build starts; each build takes as many draws as were recorded."""
    runqueues = np.zeros(vcpus, RUNQUEUE)
    runqueues["running"], runqueues["next_step_ns"], runqueues["slice_end_ns"] = IDLE, NEVER, NEVER
    draws = np.zeros(len(unit_of), DRAW)
    draws["unit"] = unit_of
    per_build = np.zeros(builds, BUILD)
    per_build["first_draw"] = np.arange(builds) * templates.units
    per_build["last_draw"] = np.minimum(per_build["first_draw"] + templates.units, len(unit_of))
    per_build["next_draw"] = per_build["first_draw"]
    per_build["make_slot"] = IDLE
    counts = np.zeros(1, COUNTS)
    counts["tokens"], counts["next_pid"], counts["free"] = jobs, FIRST_PID, slots
    counts["root"], counts["lines_step"] = templates.root, lines_step
    constants = np.zeros(1, TUNABLES)
    for name, value in tunables.items():
        constants[name] = value
    return State(
        tasks=np.zeros(slots, TASK),
        child_gone=np.zeros((slots, REGISTERS), np.uint8),
        runqueues=runqueues,
        queues=np.zeros((vcpus, slots), np.int32),
        draws=draws,
        builds=per_build,
        free_slots=np.arange(slots, dtype=np.int32)[::-1].copy(),
        sleepers=np.zeros(slots, np.int32),
        counts=counts,
        tunables=constants,
        steps=np.ascontiguousarray(templates.steps, STEP),
        template_start=np.ascontiguousarray(templates.template_start, np.int64),
        segment_start=np.ascontiguousarray(templates.segment_start, np.int64),
        unit_segment=np.ascontiguousarray(templates.unit_segment, np.int64),
    )
