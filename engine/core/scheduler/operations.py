"""The layer-1 operations of one generated build, written by the scheduler in C."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from engine.core.extension import core
from engine.core.guest.layout_guest import Status
from engine.core.scheduler.state import State
from engine.operations import OPERATION, Operations

_TROUBLES: Final = {
    Status.STALLED: "every process waits",
    Status.NO_PROCESS_SLOT: "it has more processes at once than its templates told",
    Status.BAD_OPERATION: "a step leads nowhere",
}


def scheduled(state: State, *, chunk_operations: int) -> Iterator[Operations]:
    """Yield operations in time order; a chunk is valid until the next one is asked for.

    Raises:
        ValueError: the templates name steps, templates or registers that are not there.
        RuntimeError: the build cannot go on.
        MemoryError: this host has no memory left for the operations of one event.
    """
    spill = core.new_spill()
    out = np.zeros(chunk_operations, OPERATION)
    status, count = core.scheduler_start(state, spill, out)
    if count:
        yield out[:count]
    while status == Status.DONE:
        status, count = core.scheduler_run(state, spill, out)
        if status == Status.DONE and count == 0:
            return
        if status == Status.DONE:
            yield out[:count]
    if status == Status.NO_HOST_MEMORY:
        raise MemoryError("the generated build: this host has no memory left for its operations; give it more")
    trouble = _TROUBLES[Status(status)]
    raise RuntimeError(f"the generated build cannot go on: {trouble}. The template file is damaged.")
