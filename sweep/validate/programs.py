"""The programs of the recordings as process operations: what a probe would have seen of them.

Addresses are those of the recorded static program (no address space randomisation); repetitions are those of the
recordings. Compilers and shells are missing: nobody recorded the operations that they consist of.
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from engine.operations import OPERATION, Operations
from engine.vocabulary import Operation

PAGE: Final = 4096
REGION: Final = 512 * PAGE
SHELL: Final = 100
CHILD: Final = 200
READ, WRITE, FETCH = 4, 6, 0x14
"""x86 error codes of a user's fault on a page that is not there: read, write, instruction fetch."""
FORK: Final = 0x1200000
"""CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID, what the C library's fork passes."""
PROT_R, PROT_RW, PROT_RX = 1, 3, 5
FILE: Final = 32
STACK: Final = 0x7FFFFFFFD948
ARENA: Final = 0x7FFFF7000000
_STEP_NS: Final = 1000
"""Time between two operations (assumption; no figure of the census depends on it)."""


class Script:
    """Operations of one trace, a microsecond apart."""

    def __init__(self) -> None:
        """Start empty at time 0."""
        self.rows: list[tuple[int, ...]] = []
        self.now = 0

    def add(
        self, kind: Operation, pid: int, address: int = 0, length: int = 0, *, flags: int = 0, peer: int = 0
    ) -> None:
        """Append one operation."""
        self.now += _STEP_NS
        self.rows.append((self.now, address, length, pid, peer, flags, int(kind), 0, 0))

    def fault(self, pid: int, address: int, error: int = WRITE) -> None:
        """Append a page fault."""
        self.add(Operation.FAULT, pid, address, flags=error)

    def take(self) -> Operations:
        """Return the operations so far and forget them; time goes on."""
        rows, self.rows = self.rows, []
        return np.array(rows, OPERATION)


def set_up(script: Script) -> None:
    """Lay out the static program that made the recordings, and touch what its parent has touched."""
    script.add(Operation.SWITCH_IN, SHELL)
    script.add(Operation.EXEC, SHELL)
    script.add(Operation.MAP, SHELL, 0x401000, 0x96000, flags=PROT_RX | FILE)
    script.add(Operation.MAP, SHELL, 0x497000, 0x2A000, flags=PROT_R | FILE)
    script.add(Operation.MAP, SHELL, 0x4C1000, 0x8000, flags=PROT_RW | FILE)
    script.add(Operation.MAP, SHELL, 0x4C9000, 0x8000, flags=PROT_RW)
    script.add(Operation.MAP, SHELL, 0x7FFFF7DF9000, 0x200000, flags=PROT_RW)
    for page in (0x4C1, 0x4C2, 0x4C3, 0x4C4, 0x4C5, 0x4C6, 0x4C7, 0x4C8, 0x4CC, 0x4CD, 0x4CE, 0x4CF, 0x4D0):
        script.fault(SHELL, page * PAGE)
    script.fault(SHELL, STACK)
    script.fault(SHELL, 0x7FFFF7DF9000)


def fork_child(script: Script, pid: int) -> None:
    """Fork; the parent breaks COW on its stack; the child runs until just before it exits or execs."""
    script.add(Operation.CLONE, SHELL, flags=FORK, peer=pid)
    script.fault(SHELL, STACK)
    script.add(Operation.SWITCH_OUT, SHELL)
    script.add(Operation.SWITCH_IN, pid)
    script.fault(pid, 0x4CE650)
    script.fault(pid, 0x44C413, FETCH)
    for address in (0x4CD0A8, 0x4C6140, 0x4CCB98, STACK):
        script.fault(pid, address)
    script.fault(pid, 0x401E60, FETCH)


def end_child(script: Script, pid: int) -> None:
    """Exit; the parent goes on."""
    script.add(Operation.EXIT, pid)
    script.add(Operation.SWITCH_OUT, pid)
    script.add(Operation.SWITCH_IN, SHELL)
    script.fault(SHELL, 0x4CECA8)


def fork_exit(script: Script) -> None:
    """50 times fork and exit."""
    for pid in range(CHILD, CHILD + 50):
        fork_child(script, pid)
        end_child(script, pid)


def fork_exec(script: Script) -> None:
    """50 times fork and exec of a tiny static program of one page."""
    for pid in range(CHILD, CHILD + 50):
        fork_child(script, pid)
        script.fault(pid, 0x49751D, READ)
        script.add(Operation.EXEC, pid)
        script.add(Operation.MAP, pid, 0x401000, PAGE, flags=PROT_RX | FILE)
        script.fault(pid, 0x401000, FETCH)
        end_child(script, pid)


def mmap64(script: Script) -> None:
    """100 times map 64 pages beside another mapping in the same 2 MiB, write each, unmap."""
    _map_touch_unmap(script, times=100, pages=64, start=0x7FFFF7FB0000)


def mmap512(script: Script) -> None:
    """20 times map 512 pages, write each, unmap."""
    _map_touch_unmap(script, times=20, pages=512, start=ARENA)


def mmap4096(script: Script) -> None:
    """3 times map 4096 pages, write each, unmap."""
    _map_touch_unmap(script, times=3, pages=4096, start=ARENA)


def _map_touch_unmap(script: Script, *, times: int, pages: int, start: int) -> None:
    for _ in range(times):
        script.add(Operation.MAP, SHELL, start, pages * PAGE, flags=PROT_RW)
        for page in range(pages):
            script.fault(SHELL, start + page * PAGE)
        script.add(Operation.UNMAP, SHELL, start, pages * PAGE)


def ptreuse(script: Script) -> None:
    """5 times: a child touches a page in each of 96 regions of 2 MiB, exits; the parent writes 3 MiB of new memory."""
    regions, pages = 96, 768
    for pid in range(CHILD, CHILD + 5):
        fork_child(script, pid)
        script.add(Operation.MAP, pid, ARENA - regions * REGION, regions * REGION, flags=PROT_RW)
        for region in range(regions):
            script.fault(pid, ARENA - (regions - region) * REGION)
        end_child(script, pid)
        start = 0x7FFFF7A00000
        script.add(Operation.MAP, SHELL, start, pages * PAGE, flags=PROT_RW)
        for page in range(pages):
            script.fault(SHELL, start + page * PAGE)
        script.add(Operation.UNMAP, SHELL, start, pages * PAGE)


def mprotect(script: Script) -> None:
    """20 times read-only and writable again, 256 pages."""
    start = 0x7FFFF7E00000
    script.add(Operation.UNMAP, SHELL, 0x7FFFF7DF9000, 0x200000)
    script.add(Operation.MAP, SHELL, start - PAGE, 258 * PAGE, flags=PROT_RW)
    for page in range(256):
        script.fault(SHELL, start + page * PAGE)
    for _ in range(20):
        script.add(Operation.PROTECT, SHELL, start, 256 * PAGE, flags=PROT_R)
        script.add(Operation.PROTECT, SHELL, start, 256 * PAGE, flags=PROT_RW)
    script.add(Operation.UNMAP, SHELL, start, 256 * PAGE)


def cow(script: Script) -> None:
    """512 written pages; 10 times fork, child and parent each write 128 of them."""
    script.add(Operation.MAP, SHELL, ARENA, 512 * PAGE, flags=PROT_RW)
    for page in range(512):
        script.fault(SHELL, ARENA + page * PAGE)
    for pid in range(CHILD, CHILD + 10):
        fork_child(script, pid)
        for page in range(0, 512, 4):
            script.fault(pid, ARENA + page * PAGE)
        end_child(script, pid)
        for page in range(0, 512, 4):
            script.fault(SHELL, ARENA + page * PAGE)
    script.add(Operation.UNMAP, SHELL, ARENA, 512 * PAGE)


PROGRAMS: Final[dict[str, Callable[[Script], None]]] = {
    program.__name__: program for program in (fork_exit, fork_exec, mmap64, mmap512, mmap4096, ptreuse, mprotect, cow)
}
"""Workload of a recording -> what its program does."""
