"""Pingpong: two processes run in turn, as over a pipe."""

from typing import Any, Final

from engine.fields import Field
from engine.vocabulary import Operation
from engine.workloads.piped import GUEST_PARAMETERS
from engine.workloads.rounds import (
    AREA,
    CHILD,
    CLONE_FORK,
    FAULT_COW,
    PAGE,
    PARENT,
    ROUNDS,
    STACK,
    STEP_NS,
    Rounds,
    RoundsWorkload,
    Script,
    begin,
    end,
)


def operations(parameters: dict[str, Any]) -> Rounds:
    """Return the operations of two processes that switch."""
    step_ns = int(parameters["step_ns"])
    pages = int(parameters["pages"])
    first = begin(step_ns, pages=pages)
    first.add(Operation.CLONE, PARENT, peer=CHILD, flags=CLONE_FORK)
    first.add(Operation.FAULT, PARENT, address=STACK, flags=FAULT_COW)
    first.switch(PARENT, CHILD)
    first.add(Operation.FAULT, CHILD, address=STACK, flags=FAULT_COW)
    for page in range(pages):
        first.add(Operation.FAULT, CHILD, address=AREA + page * PAGE, flags=FAULT_COW)
    first.switch(CHILD, PARENT)
    for page in range(pages):
        first.add(Operation.FAULT, PARENT, address=AREA + page * PAGE, flags=FAULT_COW)
    each = Script(step_ns)
    each.switch(PARENT, CHILD)
    each.switch(CHILD, PARENT)
    return Rounds(first=first, each=each, last=end(step_ns, PARENT, CHILD), rounds=int(parameters["rounds"]))


WORKLOAD: Final = RoundsWorkload(
    name="pingpong",
    summary="two processes of so many pages each wake each other and block, n times",
    source="documented behaviour of pipe, read and write (POSIX.1-2008)",
    parameters={
        "rounds": ROUNDS,
        "pages": Field(
            default=10, minimum=1, maximum=1_000_000, meaning="written pages of each process, beside its stack"
        ),
        "step_ns": STEP_NS,
        **GUEST_PARAMETERS,
    },
    operations=operations,
)
