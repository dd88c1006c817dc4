"""Layer 1: what processes do, as one structured array in time order.

| kind | address | length | flags |
|---|---|---|---|
| SWITCH_IN | 0 | 0 | 0: the process starts to run on `vcpu` |
| SWITCH_OUT | 0 | 0 | 1 if preempted (still runnable), 0 if it blocks |
| FAULT | faulting virtual address | 0 | x86 error code: 1 present, 2 write, 4 user, 16 fetch |
| MAP | start (0: not known) | bytes | prot in bits 0-2, MAP_SHARED bit 3, MAP_FIXED bit 4, file-backed bit 5 |
| UNMAP | start | bytes | 0 |
| PROTECT | start | bytes | prot |
| BRK | new program break | 0 | 0 |
| REMAP | old start | new bytes | 0; `peer` is 0 |
| ADVISE | start | bytes | madvise advice |
| CLONE | 0 | 0 | clone flags (low 32 bits); `peer` is the child's pid |
| EXEC | 0 | 0 | 0 |
| EXIT | 0 | 0 | 0 |

`pid` is the thread that does it. `time_ns` is native guest time since the start of the trace.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

OPERATION_FORMAT_VERSION: Final = 1

OPERATION: Final = np.dtype(
    [
        ("time_ns", np.uint64),
        ("address", np.uint64),
        ("length", np.uint64),
        ("pid", np.uint32),
        ("peer", np.uint32),
        ("flags", np.uint32),
        ("kind", np.uint8),
        ("vcpu", np.uint8),
        ("comm", np.uint16),
    ],
)
"""One layer-1 operation; 40 bytes. `comm` indexes a table of command names that travels with the array."""

Operations = npt.NDArray[np.void]
