"""The scheduler follows no template out of its arrays: a damaged one is an error, not a wrong trace."""

from typing import Any

import numpy as np
import pytest

from engine.core.scheduler.operations import scheduled
from engine.core.scheduler.state import State, new_state
from engine.vocabulary import Operation
from engine.workloads.templates import LINE_REGISTER, REGISTERS, STEP, Step, Templates

RUN_NS = 1000
STEPS = [
    # Template 0: the make of a build.
    (0, 0, 0, RUN_NS, Step.LINES),
    (0, 0, 0, RUN_NS, Operation.EXIT),
    (0, 0, 0, RUN_NS, Step.END),
    # Template 1: what a recipe line runs, with a child of its own.
    (0, 0, 1, RUN_NS, Operation.EXEC),
    (0x400000, 0, 6, RUN_NS, Operation.FAULT),
    (0, 2, 0x4000, RUN_NS, Operation.CLONE),
    (0, 0, 0, RUN_NS, Step.WAIT_CHILD),
    (0, 0, 0, RUN_NS, Operation.EXIT),
    (0, 0, 0, RUN_NS, Step.END),
    # Template 2: that child.
    (0, 5000, 0, RUN_NS, Step.SLEEP),
    (0, 0, 0, RUN_NS, Operation.EXIT),
    (0, 0, 0, RUN_NS, Step.END),
    # Segment 0: the only line of the only unit.
    (0x500000, 0, 6, RUN_NS, Operation.FAULT),
    (LINE_REGISTER, 1, 0, RUN_NS, Operation.CLONE),
]
CLONES, WAITS, LAST = 5, 6, len(STEPS) - 1


def templates(*, steps: Any = STEPS, **starts: tuple[int, ...]) -> Templates:
    """Return a build of one unit, with some of it changed."""
    whole = {"template_start": (0, 3, 9, 12), "segment_start": (12, 14), "unit_segment": (0, 1)} | starts
    return Templates(
        steps=np.array(steps, STEP),
        **{name: np.array(values, np.int64) for name, values in whole.items()},
        root=0,
        build_make=0,
        comms=(),
        provenance={},
    )


def state_of(built: Templates, *, slots: int = 20) -> State:
    """Return a run of three builds on two vCPUs."""
    return new_state(
        built,
        vcpus=2,
        slots=slots,
        jobs=2,
        unit_of=np.zeros(3, np.int64),
        builds=3,
        lines_step=0,
        tunables={
            "latency_ns": 6000,
            "min_granularity_ns": 750,
            "wakeup_granularity_ns": 1000,
            "tick_ns": 1000,
            "sleep_max_ns": 1_000_000,
            "vfork_flags": 0,
        },
    )


def changed(step: int, **fields: int) -> Any:
    """Return the steps with one of them changed."""
    steps = np.array(STEPS, STEP)
    for name, value in fields.items():
        steps[name][step] = value
    return steps


def trace(state: State, *, chunk_operations: int = 1000) -> bytes:
    """Return all operations of a run."""
    return b"".join(chunk.tobytes() for chunk in scheduled(state, chunk_operations=chunk_operations))


def test_a_build_comes_in_chunks_of_any_length() -> None:
    """The operations are the same however many of them the buffer holds."""
    whole = trace(state_of(templates()))

    assert whole
    assert {trace(state_of(templates()), chunk_operations=length) for length in (1, 2, 30)} == {whole}


@pytest.mark.parametrize(
    "starts",
    [
        {"template_start": (0, 3, 9, 15)},
        {"template_start": (0, -1, 9, 12)},
        {"template_start": (0, 9, 3, 12)},
        {"segment_start": (14, 14)},
        {"segment_start": (12, 1 << 40)},
        {"unit_segment": (1, 1)},
        {"unit_segment": (0, 0)},
        {"unit_segment": (0, 2)},
    ],
)
def test_starts_that_do_not_fit_are_refused(starts: dict[str, tuple[int, ...]]) -> None:
    """A template, segment or unit begins at a step or segment that is there, and has one."""
    with pytest.raises(ValueError, match="starts of templates, segments or units do not fit"):
        trace(state_of(templates(**starts)))


@pytest.mark.parametrize(
    ("step", "fields"),
    [
        (CLONES, {"length": 3}),
        (CLONES, {"length": 1 << 63}),
        (CLONES, {"address": REGISTERS}),
        (WAITS, {"address": 1 << 63}),
        (WAITS, {"kind": 37}),
        (LAST, {"kind": Operation.FAULT}),
        (0, {"kind": Step.WAIT_SIBLING}),
    ],
)
def test_a_step_that_leads_nowhere_is_an_error(step: int, fields: dict[str, int]) -> None:
    """A step names a template and a register that are there, and another step follows unless it is an end."""
    with pytest.raises(RuntimeError, match=r"cannot go on: a step leads nowhere\. The template file is damaged"):
        trace(state_of(templates(steps=changed(step, **fields))))


def test_more_processes_than_were_told_are_an_error() -> None:
    """The processes at once are bounded beforehand; one more is an error."""
    with pytest.raises(RuntimeError, match="more processes at once than its templates told"):
        trace(state_of(templates(), slots=2))


def test_a_build_in_which_everybody_waits_is_an_error() -> None:
    """A process that waits for a child that was never made is told from the end of the build."""
    with pytest.raises(RuntimeError, match="every process waits"):
        trace(state_of(templates(steps=changed(WAITS, address=7))))
