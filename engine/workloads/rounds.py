"""Build small exact workloads: some operations first, one round repeated n times, some operations last, on vCPU 0.

Only documented process operations are used. Run time between operations is a parameter (an assumption): these workloads
are compared by counts, not by time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from engine.fields import Field
from engine.guests import Guest
from engine.operations import OPERATION, Operations
from engine.vocabulary import Operation
from engine.workloads.contract import EventSource, Workload
from engine.workloads.piped import open_piped, with_defaults

PARENT: Final = 1000
CHILD: Final = 1001
"""First child; child of round i has pid CHILD + i."""
PAGE: Final = 4096
AREA: Final = 0x7F00_0000_0000
"""Where a workload's own pages are; any address of the mmap area would do."""
STACK: Final = 0x7FFF_FFFF_E000
PROT_READ_WRITE: Final = 3
FAULT_WRITE: Final = 2 | 4
"""x86 error code: write, user, page not present."""
FAULT_COW: Final = 1 | 2 | 4
"""x86 error code: write, user, page present (and read-only)."""
CLONE_FORK: Final = 0x0120_0000
"""CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID: glibc's fork, as recorded."""
CHUNK_OPERATIONS: Final = 1 << 20

ROUNDS: Final = Field(default=1000, minimum=1, maximum=10_000_000, meaning="rounds")
STEP_NS: Final = Field(
    default=1000,
    meaning="native run time before each operation",
    unit="ns",
    minimum=1,
    maximum=1_000_000_000,
    source="assumption",
)


@dataclass(slots=True)
class Script:
    """Operations one after the other, `step_ns` apart."""

    step_ns: int
    rows: list[tuple[int, int, int, int, int, int, int, int, int]] = field(default_factory=list)

    def add(
        self, kind: Operation, pid: int, *, address: int = 0, length: int = 0, peer: int = 0, flags: int = 0
    ) -> None:
        """Append one operation."""
        time = self.step_ns * (len(self.rows) + 1)
        self.rows.append((time, address, length, pid, peer, flags, int(kind), 0, 0))

    def switch(self, leaving: int, entering: int) -> None:
        """Let one process block and another run."""
        self.add(Operation.SWITCH_OUT, leaving)
        self.add(Operation.SWITCH_IN, entering)

    def map_and_touch(self, pid: int, *, pages: int, address: int = AREA) -> None:
        """Map private memory and write each page of it."""
        self.add(Operation.MAP, pid, address=address, length=pages * PAGE, flags=PROT_READ_WRITE)
        for page in range(pages):
            self.add(Operation.FAULT, pid, address=address + page * PAGE, flags=FAULT_WRITE)

    def array(self) -> Operations:
        """Return the operations."""
        return np.array(self.rows, OPERATION)

    @property
    def duration_ns(self) -> int:
        """Time that the script takes."""
        return self.step_ns * len(self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """The operations of a workload of equal rounds."""

    first: Script
    each: Script
    last: Script
    rounds: int
    new_child_each: bool = False
    """Pids from CHILD on grow by one each round."""

    def chunks(self) -> Iterator[Operations]:
        """Yield the operations in time order; memory does not depend on the number of rounds."""
        yield self.first.array()
        base, period = self.each.array(), self.each.duration_ns
        per_chunk = max(1, CHUNK_OPERATIONS // max(1, len(base)))
        for start in range(0, self.rounds, per_chunk):
            count = min(per_chunk, self.rounds - start)
            number = np.repeat(np.arange(start, start + count), len(base))
            chunk = np.tile(base, count)
            chunk["time_ns"] += (self.first.duration_ns + number * period).astype(np.uint64)
            if self.new_child_each:
                for name in ("pid", "peer"):
                    chunk[name] += np.where(chunk[name] >= CHILD, number, 0).astype(np.uint32)
            yield chunk
        tail = self.last.array()
        tail["time_ns"] += np.uint64(self.first.duration_ns + self.rounds * period)
        yield tail


def begin(step_ns: int, *, pages: int) -> Script:
    """Return the start of a process with a stack page and `pages` written pages."""
    script = Script(step_ns)
    script.add(Operation.SWITCH_IN, PARENT)
    script.add(Operation.EXEC, PARENT)
    script.add(Operation.FAULT, PARENT, address=STACK, flags=FAULT_WRITE)
    if pages:
        script.map_and_touch(PARENT, pages=pages)
    return script


def end(step_ns: int, *pids: int) -> Script:
    """Return the end of processes, of which the first runs now."""
    script = Script(step_ns)
    for i, pid in enumerate(pids):
        if i:
            script.add(Operation.SWITCH_IN, pid)
        script.add(Operation.EXIT, pid)
        script.add(Operation.SWITCH_OUT, pid)
    return script


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundsWorkload(Workload):
    """A workload that repeats one round."""

    operations: Callable[[dict[str, Any]], Rounds]
    """What its processes do, by its parameters."""

    def open(self, parameters: dict[str, Any], guest: Guest, seed: int, window_ns: int) -> EventSource:
        """Return the trace."""
        chosen = with_defaults(self.parameters, parameters)
        return open_piped(self.operations(chosen), parameters=chosen, guest=guest, seed=seed, window_ns=window_ns)
