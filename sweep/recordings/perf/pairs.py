"""Operations that more than one line tells: calls with their returns, and execs."""

from typing import Final

import numpy as np
import numpy.typing as npt

from engine.operations import Operations
from engine.vocabulary import Operation
from sweep.recordings.flags import FAULT_USER, FAULT_WRITE
from sweep.recordings.perf.lines import (
    ENTRIES,
    EVENT_CODES,
    EXEC,
    EXIT,
    LINE,
    NEW_IMAGE,
    RETURNS,
    UNKNOWN_EVENT,
    Fate,
    Lines,
)

REACH_OPERATIONS: Final = 4096
"""How far back an EXEC may go, in operations of all threads: an import keeps so many. An exec faults 2 to 4 times."""


def move_exec(operations: Operations, place: int) -> None:
    """Move the EXEC at a place before the kernel writes to its new image, and give it the time of the first of them.

    The kernel writes to the new image (the rest of its data page, the loader's, the stack) before the tracepoint
    sched_process_exec fires. Linux 6.1 fs/exec.c and fs/binfmt_elf.c: begin_new_exec switches the address space,
    load_elf_binary then clears and copies, and exec_binprm traces last. Those writes fault in kernel mode. So an EXEC
    goes before the kernel-mode write faults that its thread has directly before it.
    """
    first = max(0, place - REACH_OPERATIONS)
    same_thread = np.flatnonzero(operations["pid"][first:place] == operations["pid"][place]) + first
    own = operations[same_thread]
    is_write = (own["kind"] == Operation.FAULT) & (own["flags"] & (FAULT_WRITE | FAULT_USER) == FAULT_WRITE)
    others = np.flatnonzero(~is_write)
    writes = same_thread[others[-1] + 1 if len(others) else 0 :]
    if len(writes):
        target = int(writes[0])
        moved = operations[place].copy()
        moved["time_ns"] = operations["time_ns"][target]
        operations[target + 1 : place + 1] = operations[target:place].copy()
        operations[target] = moved


_ENTRY_CODES: Final = [EVENT_CODES[name] for name in ENTRIES]
_RETURN_CODES: Final = [EVENT_CODES[name] for name in RETURNS]
_SECONDS: Final = {
    EVENT_CODES[first]: EVENT_CODES[second]
    for first, second in (*zip(ENTRIES, RETURNS, strict=True), (NEW_IMAGE, EXEC))
}
_SECOND_OF: Final = np.array([_SECONDS.get(code, UNKNOWN_EVENT) for code in range(UNKNOWN_EVENT + 1)], np.uint8)
"""Code of the event that is the second of a pair, by that of the first; UNKNOWN_EVENT if it begins none."""
_PAIRED_CODES: Final = [*_ENTRY_CODES, *_RETURN_CODES, *(EVENT_CODES[name] for name in (NEW_IMAGE, EXEC, EXIT))]
_FIRST_ERROR: Final = 2**64 - 4095
"""A call that failed returns a number from -4095 to -1, Linux 6.1 include/linux/err.h, MAX_ERRNO."""
Flags = npt.NDArray[np.bool_]


class Pairs:
    """Joins lines block by block; what it remembers grows with the number of threads."""

    def __init__(self) -> None:
        """Start with no line that waits for its second."""
        self._waiting = np.zeros(0, LINE)
        self.unanswered = 0
        """Entries of calls whose return was not seen so far."""

    def join(self, lines: Lines) -> None:
        """Make one operation of two lines that belong together: entry and return of a call, or both lines of an exec.

        A thread does one such thing at a time. So two lines belong together if no other line of these events stands
        between them in their thread. A call is an operation at its return, an exec at its first line.
        """
        is_known = np.isin(lines["fate"], (Fate.OPERATION, Fate.BAD_FIELDS))
        places = np.flatnonzero(is_known & np.isin(lines["event"], _PAIRED_CODES))
        pairs = np.concatenate([self._waiting, lines[places]])
        order = np.argsort(pairs["pid"], kind="stable")
        pairs, is_new = pairs[order], order >= len(self._waiting)
        places = places[order[is_new] - len(self._waiting)]
        firsts = np.roll(pairs, 1)
        is_of_same = firsts["pid"] == pairs["pid"]
        is_of_same[:1] = False
        is_sound = pairs["fate"] == Fate.OPERATION
        awaited = np.where(is_sound, _SECOND_OF[pairs["event"]], UNKNOWN_EVENT)
        ends = is_of_same & (np.roll(awaited, 1) == pairs["event"])
        self._waiting = pairs[np.roll(~is_of_same, -1) & (awaited != UNKNOWN_EVENT)]
        is_entry = np.isin(pairs["event"], _ENTRY_CODES) & is_sound
        is_return = np.isin(pairs["event"], _RETURN_CODES)
        self.unanswered += int(np.sum(is_entry & is_new)) - int(np.sum(is_return & ends))
        pairs["fate"][is_entry | is_sound & ends & (pairs["event"] == EVENT_CODES[EXEC])] = Fate.QUIET
        _answer(pairs, firsts, is_return & is_sound, ends)
        lines[places] = pairs[is_new]


def _answer(pairs: Lines, firsts: Lines, is_return: Flags, ends: Flags) -> None:
    """Complete returns with what their calls were given, and tell those that are no operation."""
    is_failed = pairs["address"] >= _FIRST_ERROR
    pairs["fate"][is_return & is_failed] = Fate.FAILED_CALL
    pairs["fate"][is_return & ~ends] = Fate.RETURN_ONLY
    is_remap = pairs["kind"] == Operation.REMAP
    for field, which in (("length", is_return), ("flags", is_return), ("address", is_return & is_remap)):
        pairs[field][which] = firsts[field][which]
