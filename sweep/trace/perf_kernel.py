"""The compiled parser of `perf script` text: lines of bytes in, layer-1 operations and counts out.

One line is `command pid/tid [cpu] seconds: event: fields`. The command may hold spaces and slashes, so the line is
recognised by the first `pid/tid [cpu] seconds:` in it. A system call that answers with an address becomes an operation
at its return; its entry waits in a table by thread id.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.jit import kernel
from engine.operations import OPERATION, Operations
from engine.vocabulary import Operation
from sweep.trace import perf_events as perf
from sweep.trace.perf_fields import (
    QUIET,
    ROW,
    clear,
    parse_entry,
    parse_fault,
    parse_newtask,
    parse_range,
    parse_return,
    parse_switch,
)
from sweep.trace.perf_header import parse_event, parse_header
from sweep.trace.scan import Text, find_byte, find_key, hash_bytes, parse_decimal, skip_space

LINE: Final = 0
LAST_TIME: Final = 1
BASE_TIME: Final = 2
COMM_COUNT: Final = 3
LOST_COUNT: Final = 4
ROW_COUNT: Final = 5
DEFECT_COUNT: Final = 6
STATE_FIELDS: Final = 7

DEFECT: Final = np.dtype([(name, np.int64) for name in ("line", "start", "end", "code", "time")])
"""One line that can't be read: its number, its place in the block, why, and the time of the operation before it."""

_NEWLINE: Final = ord("\n")
_RETURN: Final = ord("\r")
_HASH: Final = ord("#")
_COMM_SLOTS: Final = 1 << 17
_LOST_KEY: Final = np.frombuffer(b"lost", np.uint8)
_EXEC: Final = int(Operation.EXEC)
_EXIT: Final = int(Operation.EXIT)


class Tables(NamedTuple):
    """What the parser remembers from line to line; its size does not depend on the file."""

    state: npt.NDArray[np.int64]
    """state[field]: position and counts so far."""
    counts: npt.NDArray[np.int64]
    """counts[code]: lines per entry of `perf_events.COUNT_NAMES`."""
    waiting: Operations
    """waiting[tid]: the call that the thread is in; `comm` holds the code of its return event, or 0."""
    comm_bytes: Text
    """comm_bytes[comm, i]: byte i of a command name."""
    comm_length: Text
    """comm_length[comm]: bytes of a command name."""
    comm_slots: npt.NDArray[np.int32]
    """comm_slots[slot]: command name in a slot of the hash table, plus 1; 0 is free."""


def new_tables() -> Tables:
    """Make the tables of one import; the system gives memory only to the parts that are used."""
    state = np.zeros(STATE_FIELDS, np.int64)
    state[BASE_TIME] = -1
    return Tables(
        state=state,
        counts=np.zeros(len(perf.COUNT_NAMES), np.int64),
        waiting=np.zeros(perf.PID_LIMIT + 1, OPERATION),
        comm_bytes=np.zeros((perf.COMM_LIMIT, perf.COMM_BYTES), np.uint8),
        comm_length=np.zeros(perf.COMM_LIMIT, np.uint8),
        comm_slots=np.zeros(_COMM_SLOTS, np.int32),
    )


@kernel
def _is_comm(text: Text, start: int, end: int, tables: Tables, comm: int) -> bool:
    """Tell whether a command name is the one of an index."""
    length = end - start
    i = 0
    while i < length and tables.comm_bytes[comm, i] == text[start + i]:
        i += 1
    return i == length and bool(tables.comm_length[comm] == length)


@kernel
def _intern_comm(text: Text, start: int, end: int, tables: Tables) -> int:
    """Return the index of a command name, new or known; a negative defect code if it can't have one."""
    if not 0 < end - start <= perf.COMM_BYTES:
        return -perf.BAD_COMM
    slot = np.int64(hash_bytes(text, start, end) & np.uint64(_COMM_SLOTS - 1))
    while tables.comm_slots[slot] != 0:
        comm = tables.comm_slots[slot] - 1
        if _is_comm(text, start, end, tables, comm):
            return int(comm)
        slot = (slot + 1) & (_COMM_SLOTS - 1)
    comm = tables.state[COMM_COUNT]
    if comm == perf.COMM_LIMIT:
        return -perf.MANY_COMMS
    tables.state[COMM_COUNT] += 1
    tables.comm_slots[slot] = comm + 1
    tables.comm_length[comm] = end - start
    for i in range(end - start):
        tables.comm_bytes[comm, i] = text[start + i]
    return int(comm)


@kernel
def _parse_call(text: Text, at: int, end: int, event: int, tid: int, tables: Tables, row: Any) -> int:
    """Join entry and return of a call that answers with an address."""
    wait = tables.waiting[tid]
    if event < perf.EXIT_MMAP:
        if wait["comm"] != 0:
            tables.counts[perf.NO_RETURN] += 1
        outcome = parse_entry(text, at, end, event, wait)
        wait["comm"] = event + perf.ENTER_TO_EXIT if outcome == QUIET else 0
        return int(outcome)
    if wait["comm"] != event:
        return perf.RETURN_ONLY
    wait["comm"] = 0
    return parse_return(text, at, end, wait, row)


@kernel
def _parse_fields(text: Text, at: int, end: int, event: int, tid: int, tables: Tables, row: Any) -> int:
    """Fill the fields of an operation that its event gives."""
    if event <= perf.PAGE_FAULT_KERNEL:
        return parse_fault(text, at, end, row)
    if event <= perf.SWITCH_CPU_WIDE:
        return parse_switch(text, at, end, row)
    if event <= perf.EXIT_MREMAP:
        return _parse_call(text, at, end, event, tid, tables, row)
    if event <= perf.ENTER_MADVISE:
        return parse_range(text, at, end, event, row)
    if event == perf.NEWTASK:
        return parse_newtask(text, at, end, row)
    if event == perf.PROCESS_EXIT and tables.waiting[tid]["comm"] != 0:
        tables.waiting[tid]["comm"] = 0
        tables.counts[perf.NO_RETURN] += 1
    row["kind"] = _EXEC if event == perf.PROCESS_EXEC else _EXIT
    return ROW


@kernel
def _count_lost(text: Text, at: int, end: int, state: npt.NDArray[np.int64]) -> None:
    """Add up the events that perf itself says are lost."""
    found = find_key(text, at, end, _LOST_KEY)
    if found >= 0:
        state[LOST_COUNT] += parse_decimal(text, skip_space(text, found, end), end)[0]


@kernel
def _parse_line(text: Text, start: int, end: int, tables: Tables, row: Any) -> int:
    """Parse one line that is neither blank nor a comment."""
    state = tables.state
    defect, comm_end, tid, cpu, time_ns, at = parse_header(text, start, end)
    if defect != 0:
        return -defect
    event, at = parse_event(text, at, end)
    if event < 0:
        return event
    if event >= perf.LOST:
        if event <= perf.LOST_SAMPLES:
            _count_lost(text, at, end, state)
        tables.counts[event] += 1
        return QUIET
    if tid < 0:
        tables.counts[event] += 1
        return perf.NO_PROCESS
    if time_ns < state[LAST_TIME]:
        return -perf.TIME_BACKWARDS
    clear(row)
    comm = _intern_comm(text, start, comm_end, tables)
    if comm < 0:
        return comm
    outcome = _parse_fields(text, skip_space(text, at, end), end, event, tid, tables, row)
    if outcome < 0:
        return outcome
    tables.counts[event] += 1
    state[LAST_TIME] = time_ns
    if outcome == ROW:
        if state[BASE_TIME] < 0:
            state[BASE_TIME] = time_ns
        row["time_ns"] = time_ns - state[BASE_TIME]
        row["pid"] = tid
        row["vcpu"] = cpu
        row["comm"] = comm
    return outcome


@kernel
def parse_block(text: Text, size: int, tables: Tables, rows: Operations, defects: npt.NDArray[np.void]) -> int:
    """Parse whole lines until they or the room for rows or defects end; return how many bytes are done.

    The block must end with a line feed. `state` tells afterwards how many rows and defects there are.
    """
    state = tables.state
    state[ROW_COUNT] = 0
    state[DEFECT_COUNT] = 0
    at = 0
    while at < size and state[ROW_COUNT] < len(rows) and state[DEFECT_COUNT] < len(defects):
        line_end = find_byte(text, at, size, _NEWLINE)
        end = line_end
        while end > at and text[end - 1] == _RETURN:
            end -= 1
        start = skip_space(text, at, end)
        state[LINE] += 1
        if start == end:
            outcome = perf.BLANK
        elif text[start] == _HASH:
            outcome = perf.COMMENT
        else:
            outcome = _parse_line(text, start, end, tables, rows[state[ROW_COUNT]])
        if outcome == ROW:
            state[ROW_COUNT] += 1
        elif outcome < 0:
            defect = defects[state[DEFECT_COUNT]]
            defect["line"] = state[LINE]
            defect["start"] = start
            defect["end"] = end
            defect["code"] = -outcome
            defect["time"] = state[LAST_TIME]
            state[DEFECT_COUNT] += 1
        elif outcome < QUIET:
            tables.counts[outcome] += 1
        at = line_end + 1
    return at
