"""Exec: a process forks children that exec a small program, one after the other."""

from typing import Any, Final

from engine.fields import Field
from engine.vocabulary import Operation
from engine.workloads.piped import GUEST_PARAMETERS
from engine.workloads.rounds import (
    CHILD,
    CLONE_FORK,
    FAULT_COW,
    FAULT_WRITE,
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
    """Return the operations of a parent that starts programs and waits."""
    step_ns = int(parameters["step_ns"])
    each = Script(step_ns)
    each.add(Operation.CLONE, PARENT, peer=CHILD, flags=CLONE_FORK)
    each.switch(PARENT, CHILD)
    each.add(Operation.FAULT, CHILD, address=STACK, flags=FAULT_COW)
    each.add(Operation.EXEC, CHILD)
    each.add(Operation.FAULT, CHILD, address=STACK, flags=FAULT_WRITE)
    each.map_and_touch(CHILD, pages=int(parameters["pages"]))
    each.add(Operation.EXIT, CHILD)
    each.switch(CHILD, PARENT)
    # The parent's stack is read-only since the fork.
    each.add(Operation.FAULT, PARENT, address=STACK, flags=FAULT_COW)
    return Rounds(
        first=begin(step_ns, pages=0),
        each=each,
        last=end(step_ns, PARENT),
        rounds=int(parameters["rounds"]),
        new_child_each=True,
    )


WORKLOAD: Final = RoundsWorkload(
    name="exec",
    summary="a process forks a child that execs, writes so many pages and exits, n times",
    source="documented behaviour of fork, execve, wait and exit (POSIX.1-2008)",
    parameters={
        "rounds": ROUNDS,
        "pages": Field(
            default=100, minimum=1, maximum=1_000_000, meaning="pages that each program writes, beside its stack"
        ),
        "step_ns": STEP_NS,
        **GUEST_PARAMETERS,
    },
    operations=operations,
)
