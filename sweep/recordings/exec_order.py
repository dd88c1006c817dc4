"""Puts an EXEC where the new address space begins, in recordings that only say when the exec was done.

The kernel writes to the new image (the rest of its data page, the loader's, the stack) before the tracepoint
sched_process_exec fires. Linux 6.1 fs/exec.c and fs/binfmt_elf.c: begin_new_exec switches the address space,
load_elf_binary then clears and copies, and exec_binprm traces last. Those writes fault in kernel mode. So an EXEC goes
before the kernel-mode write faults that its thread has directly before it.
"""

from typing import Final

import numpy as np

from engine.operations import Operations
from engine.vocabulary import Operation

REACH_OPERATIONS: Final = 4096
"""How far back an EXEC may go, in operations of all threads: an import keeps so many. An exec faults 2 to 4 times."""
_WRITE: Final = 1 << 1
_USER: Final = 1 << 2
"""Bits of an x86 page-fault error code."""


def move_exec(operations: Operations, place: int) -> None:
    """Move the EXEC at a place before the kernel writes to its new image, and give it the time of the first of them."""
    first = max(0, place - REACH_OPERATIONS)
    same_thread = np.flatnonzero(operations["pid"][first:place] == operations["pid"][place]) + first
    own = operations[same_thread]
    is_write = (own["kind"] == Operation.FAULT) & (own["flags"] & (_WRITE | _USER) == _WRITE)
    others = np.flatnonzero(~is_write)
    writes = same_thread[others[-1] + 1 if len(others) else 0 :]
    if len(writes):
        target = int(writes[0])
        moved = operations[place].copy()
        moved["time_ns"] = operations["time_ns"][target]
        operations[target + 1 : place + 1] = operations[target:place].copy()
        operations[target] = moved
