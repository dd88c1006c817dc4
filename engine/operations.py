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

`pid` is the thread that does it. `time_ns` is native guest time since the start of the trace, and never goes back.
Addresses and lengths may be anything: as in Linux, a call with one that cannot be changes nothing.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.vocabulary import Operation

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

PID_MAX: Final = (1 << 31) - 1
"""Largest pid_t."""
TIME_NS_MAX: Final = (1 << 55) - 1
"""Longest trace, 417 days: what the engine's counters of time hold."""
WINDOWS_MAX: Final = 1 << 20
"""Most windows of a trace: each holds all counters of all policies in memory."""


def name_operation(operation: Any, number: int) -> str:
    """Name an operation in an error: its number in the trace and what tells it from its neighbours."""
    kind = int(operation["kind"])
    name = Operation(kind).name if kind < len(Operation) else f"kind {kind}"
    peer = f", peer {operation['peer']}" if kind == Operation.CLONE else ""
    who = f"pid {operation['pid']}{peer}, vcpu {operation['vcpu']}"
    return f"operation {number} ({name}, {who}) at {operation['time_ns']} ns"


@dataclass(slots=True, kw_only=True)
class OperationChecks:
    """Looks at the operations of one trace as they come, in any cut into arrays, before anything is done with them."""

    place: str
    """Where the operations are from, for the error."""
    vcpus: int
    window_ns: int
    passed: int = 0
    """Operations that were looked at."""
    time_ns: int = 0
    """Time of the last of them."""

    def check(self, operations: Operations) -> None:
        """Look at the next operations.

        Raises:
            ValueError: place and number of the first one that cannot be, what was found, what is allowed, what to do.
        """
        if not len(operations):
            return
        self._check_kinds(operations)
        self._check_times(operations)
        self._check_pids(operations)
        self.passed += len(operations)
        self.time_ns = int(operations["time_ns"][-1])

    def _check_kinds(self, operations: Operations) -> None:
        highest = len(Operation) - 1
        allowed = f"allowed are kinds 0 to {highest} ({Operation(highest).name}); check the trace"
        self._refuse(operations, operations["kind"] > highest, allowed)
        vcpus = operations["vcpu"]
        if (most := int(vcpus.max())) >= self.vcpus:
            allowed = f"guests.vcpus is {self.vcpus}; set it to at least {most + 1}"
            self._refuse(operations, vcpus >= self.vcpus, allowed)

    def _check_times(self, operations: Operations) -> None:
        times = operations["time_ns"]
        back = np.append(times[0] < self.time_ns, times[1:] < times[:-1])
        self._refuse(operations, back, "is earlier than the one before it; sort the operations by time_ns (stable)")
        longest = min(TIME_NS_MAX, WINDOWS_MAX * self.window_ns)
        allowed = f"a trace has at most {WINDOWS_MAX} windows of {self.window_ns} ns and {TIME_NS_MAX} ns"
        self._refuse(operations, times > longest, f"{allowed}; check its time_ns, or set a longer window_ns")

    def _check_pids(self, operations: Operations) -> None:
        pids, peers = operations["pid"], operations["peer"]
        self._refuse(operations, pids > PID_MAX, f"allowed are pids 0 to {PID_MAX}; check the trace")
        wrong = (operations["kind"] == Operation.CLONE) & ((peers == 0) | (peers > PID_MAX) | (peers == pids))
        self._refuse(operations, wrong, f"allowed as its peer are other pids from 1 to {PID_MAX}; check the trace")

    def _refuse(self, operations: Operations, wrong: npt.NDArray[np.bool_], why: str) -> None:
        """Raise for the first wrong operation, if there is one."""
        if wrong.any():
            row = int(wrong.argmax())
            raise ValueError(f"{self.place}: {name_operation(operations[row], self.passed + row)}: {why}")
