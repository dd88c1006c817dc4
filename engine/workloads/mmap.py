"""Mmap: a process maps memory, writes each page of it and unmaps it."""

from typing import Any, Final

from engine.fields import Field
from engine.vocabulary import Operation
from engine.workloads.piped import GUEST_PARAMETERS
from engine.workloads.rounds import AREA, PAGE, PARENT, ROUNDS, STEP_NS, Rounds, RoundsWorkload, Script, begin, end


def operations(parameters: dict[str, Any]) -> Rounds:
    """Return the operations of a process that maps, writes and unmaps."""
    step_ns = int(parameters["step_ns"])
    pages = int(parameters["pages"])
    each = Script(step_ns)
    each.map_and_touch(PARENT, pages=pages)
    each.add(Operation.UNMAP, PARENT, address=AREA, length=pages * PAGE)
    return Rounds(first=begin(step_ns, pages=0), each=each, last=end(step_ns, PARENT), rounds=int(parameters["rounds"]))


WORKLOAD: Final = RoundsWorkload(
    name="mmap",
    summary="a process maps so many pages, writes each and unmaps them, n times",
    source="documented behaviour of mmap and munmap (POSIX.1-2008)",
    parameters={
        "rounds": ROUNDS,
        "pages": Field(default=64, minimum=1, maximum=1_000_000, meaning="pages of each mapping"),
        "step_ns": STEP_NS,
        **GUEST_PARAMETERS,
    },
    operations=operations,
)
