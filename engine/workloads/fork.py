"""Fork: a process forks children that exit at once, one after the other."""

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
    """Return the operations of a parent that forks and waits."""
    step_ns = int(parameters["step_ns"])
    each = Script(step_ns)
    each.add(Operation.CLONE, PARENT, peer=CHILD, flags=CLONE_FORK)
    each.switch(PARENT, CHILD)
    each.add(Operation.FAULT, CHILD, address=STACK, flags=FAULT_COW)
    for page in range(min(int(parameters["child_writes"]), int(parameters["pages"]))):
        each.add(Operation.FAULT, CHILD, address=AREA + page * PAGE, flags=FAULT_COW)
    each.add(Operation.EXIT, CHILD)
    each.switch(CHILD, PARENT)
    # The parent's stack is read-only since the fork.
    each.add(Operation.FAULT, PARENT, address=STACK, flags=FAULT_COW)
    return Rounds(
        first=begin(step_ns, pages=int(parameters["pages"])),
        each=each,
        last=end(step_ns, PARENT),
        rounds=int(parameters["rounds"]),
        new_child_each=True,
    )


WORKLOAD: Final = RoundsWorkload(
    name="fork",
    summary="a process of so many pages forks a child that writes some of them and exits, n times",
    source="documented behaviour of fork, wait and exit (POSIX.1-2008)",
    parameters={
        "rounds": ROUNDS,
        "pages": Field(
            default=100, minimum=1, maximum=1_000_000, meaning="written pages of the parent, beside its stack"
        ),
        "child_writes": Field(
            default=0,
            minimum=0,
            maximum=1_000_000,
            meaning="of these, pages that each child writes; it always writes its stack",
        ),
        "step_ns": STEP_NS,
        **GUEST_PARAMETERS,
    },
    operations=operations,
)
