"""Reads blocks of `perf script` text as tables: one row per line, with what its event says in columns.

One line is `command pid/tid [cpu] seconds: event: fields`. The command may hold spaces and slashes, so the line is
recognised by the first `pid/tid [cpu] seconds:` in it. No line is looked at in the light of another here.
"""

import io
import re
from enum import IntEnum
from typing import Final, NamedTuple

import polars as pl

from engine.vocabulary import Operation

_CALLS: Final = ("mmap", "brk", "mremap")
"""Calls that answer with an address; they become operations at their return."""
ENTRIES: Final = tuple(f"syscalls:sys_enter_{call}" for call in _CALLS)
RETURNS: Final = tuple(f"syscalls:sys_exit_{call}" for call in _CALLS)
EXEC: Final = "sched:sched_process_exec"
EXIT: Final = "sched:sched_process_exit"
NEW_IMAGE: Final = "PERF_RECORD_COMM"
"""Its form `PERF_RECORD_COMM exec:` marks the moment at which an exec changes the address space."""
LOST_EVENTS: Final = ("PERF_RECORD_LOST", "PERF_RECORD_LOST_SAMPLES")
_RECORDS: Final = "MMAP MMAP2 COMM FORK EXIT NAMESPACES CGROUP KSYMBOL BPF_EVENT TEXT_POKE THROTTLE UNTHROTTLE"
LEFT_OUT_EVENTS: Final = (*LOST_EVENTS, *(f"PERF_RECORD_{name}" for name in _RECORDS.split()))
"""Events that are known and counted only."""

PID_LIMIT: Final = 4 * 1024 * 1024
"""No thread id is higher; Linux 6.1 include/linux/threads.h, PID_MAX_LIMIT on 64 bits."""
VCPU_LIMIT: Final = 255
"""Highest CPU number that the `vcpu` field of an operation holds."""
COMM_BYTES: Final = 64
"""Longest command name; Linux keeps 15 bytes (TASK_COMM_LEN), names of kernel threads in /proc are up to 63."""
COMM_LIMIT: Final = 65_535
"""Most command names in one trace: the `comm` field of an operation is 16 bits wide."""


class Fate(IntEnum):
    """What becomes of a line."""

    OPERATION = 0
    QUIET = 1
    """No operation of its own and nothing to say about it: the entry of a call, an event that is only counted."""
    BLANK = 2
    COMMENT = 3
    NO_PROCESS = 4
    KERNEL_ADDRESS = 5
    FAILED_CALL = 6
    RETURN_ONLY = 7
    NO_HEADER = 8
    NO_EVENT = 9
    UNKNOWN_EVENT = 10
    BAD_FIELDS = 11
    TIME_BACKWARDS = 12
    HIGH_PID = 13
    HIGH_CPU = 14
    BAD_COMM = 15
    MANY_COMMS = 16


LEFT_OUT: Final = {
    Fate.BLANK: "blank line",
    Fate.COMMENT: "comment line",
    Fate.NO_PROCESS: "event of no process (pid -1)",
    Fate.KERNEL_ADDRESS: "fault on a kernel address",
    Fate.FAILED_CALL: "call that failed",
    Fate.RETURN_ONLY: "return of a call that the trace did not see start",
}
"""Why a line that can be read is no operation."""
NO_RETURN: Final = "call that did not return"
NO_TASK: Final = "no 'command pid/tid' at its start"
NO_CPU: Final = "no '[cpu]' after pid/tid"
NO_TIME: Final = "no time in seconds, as '12.345678:', after '[cpu]'"
DEFECTS: Final = {
    Fate.NO_HEADER: "{header}",
    Fate.NO_EVENT: "no event after the time",
    Fate.UNKNOWN_EVENT: "unknown event {event!r}",
    Fate.BAD_FIELDS: "{event} needs {fields}",
    Fate.TIME_BACKWARDS: "its time is before {previous} s, the time of an earlier operation",
    Fate.HIGH_PID: f"thread id above {PID_LIMIT}, the most that Linux allows",
    Fate.HIGH_CPU: f"CPU number above {VCPU_LIMIT}, the most that a trace can hold",
    Fate.BAD_COMM: f"command name of 0 or more than {COMM_BYTES} bytes",
    Fate.MANY_COMMS: f"more than {COMM_LIMIT} different command names",
}
"""Why a line can't be read."""
FIRST_DEFECT: Final = min(DEFECTS)


PROT_MASK: Final = 7
MAP_SHARED_BIT: Final = 1 << 3
MAP_FIXED_BIT: Final = 1 << 4
MAP_FILE_BIT: Final = 1 << 5
"""The last three: bits of a MAP operation's flags, engine/operations.py."""

# Linux 6.1 include/uapi/linux/mman.h and asm-generic/mman-common.h.
_LINUX_MAP_SHARED: Final = 0x01
_LINUX_MAP_FIXED: Final = 0x10
_LINUX_MAP_ANONYMOUS: Final = 0x20
_LINUX_MAP_FIXED_NOREPLACE: Final = 0x10_0000

_NS_PER_S: Final = 1_000_000_000
_SECONDS_MAX: Final = 9_000_000_000
"""More seconds than this do not fit a signed 64-bit count of nanoseconds."""
_KERNEL_START: Final = 1 << 63
_LOW_32: Final = 0xFFFF_FFFF

_TASK: Final = r"[ \t][-0-9]+/(-1|[0-9]{1,18})"
_CPU: Final = r"[ \t]*\[([0-9]{1,18})\]"
_TIME: Final = r"[ \t]*([0-9]+)\.([0-9]+):"
_HEADER: Final = re.sub(r"\((?!\?)", "(?:", _TASK + _CPU + _TIME)
"""Without groups, which cost time: the place is found first, and the groups are read in the rest of the line."""
_HEADER_AND_EVENT: Final = f"^{_TASK}{_CPU}{_TIME}" + r"[ \t]*([A-Za-z0-9_:-]*)"
_HEX: Final = r"([0-9a-fA-F]{1,16})(?:[ \t,]|$)"
"""A hexadecimal number that is a whole word or list item, and fits 64 bits."""

_REST: Final = pl.col("rest")
_NONE: Final = pl.lit(0, pl.UInt64)


def _code(value: int) -> pl.Expr:
    return pl.lit(value, pl.UInt8)


def chosen_fate(*cases: tuple[pl.Expr, Fate]) -> pl.Expr:
    """Return what becomes of a line: the fate of the first condition that it meets, else the one that it has."""
    fate = pl.col("fate")
    for condition, chosen in reversed(cases):
        fate = pl.when(condition).then(_code(chosen)).otherwise(fate)
    return fate


class Fields(NamedTuple):
    """How the fields of one event become those of an operation; null where a line lacks what the event needs."""

    kind: pl.Expr
    needs: str = ""
    """What a line must have, for messages."""
    address: pl.Expr = _NONE
    length: pl.Expr = _NONE
    peer: pl.Expr = _NONE
    flags: pl.Expr = _NONE


def _first_hex(pattern: str) -> pl.Expr:
    return _REST.str.extract(pattern).str.to_integer(base=16, dtype=pl.UInt64, strict=False)


def _argument(name: str) -> pl.Expr:
    """Return an argument of a system call, as in `len: 0x1000,`; the first word of that name counts."""
    return _first_hex(rf"[ \t]{name}:[ \t]*(?:0x{_HEX})?")


def _mapping_bits(flags: pl.Series) -> pl.Series:
    """Return the upper bits of a MAP's flags from the flags that mmap(2) was called with."""
    is_shared = flags & _LINUX_MAP_SHARED != 0
    is_fixed = flags & (_LINUX_MAP_FIXED | _LINUX_MAP_FIXED_NOREPLACE) != 0
    is_file = flags & _LINUX_MAP_ANONYMOUS == 0
    bits = ((is_shared, MAP_SHARED_BIT), (is_fixed, MAP_FIXED_BIT), (is_file, MAP_FILE_BIT))
    return sum((is_set.cast(pl.UInt64) * bit for is_set, bit in bits), start=flags * 0)


def _switched(pattern: str) -> pl.Expr:
    return _REST.str.contains(rf"PERF_RECORD_SWITCH(?:_CPU_WIDE)?:?[ \t]+{pattern}")


_SWITCH: Final = Fields(
    pl.when(_switched(r"IN(?:[ \t]|$)"))
    .then(_code(Operation.SWITCH_IN))
    .when(_switched(r"OUT(?:[ \t]|$)"))
    .then(_code(Operation.SWITCH_OUT)),
    "IN, OUT or OUT preempt",
    flags=_switched(r"OUT[ \t]+preempt").cast(pl.UInt64),
)


_FAULT: Final = Fields(
    _code(Operation.FAULT),
    "address=0x... and error_code=0x...",
    # perf prints an address that lies in a kernel symbol as the symbol's name.
    address=pl.when(_REST.str.contains(r"[ \t]address=[A-Za-z_]"))
    .then(pl.lit(_KERNEL_START, pl.UInt64))
    .otherwise(_first_hex(rf"[ \t]address=(?:0x{_HEX})?")),
    flags=_first_hex(rf"[ \t]error_code=(?:0x{_HEX})?"),
)


def _returned(kind: Operation) -> Fields:
    return Fields(_code(kind), "the value returned, 0x...", address=_first_hex(rf"sys_exit_[a-z]+:?[ \t]*0x{_HEX}"))


FIELDS: Final = {
    "exceptions:page_fault_user": _FAULT,
    "exceptions:page_fault_kernel": _FAULT,
    "PERF_RECORD_SWITCH": _SWITCH,
    "PERF_RECORD_SWITCH_CPU_WIDE": _SWITCH,
    "syscalls:sys_enter_mmap": Fields(
        _code(Operation.MAP),
        "len: 0x..., prot: 0x... and flags: 0x...",
        length=_argument("len"),
        flags=(_argument("prot") & PROT_MASK) | _argument("flags").map_batches(_mapping_bits, pl.UInt64),
    ),
    "syscalls:sys_enter_brk": Fields(_code(Operation.BRK)),
    "syscalls:sys_enter_mremap": Fields(
        _code(Operation.REMAP), "addr: 0x... and new_len: 0x...", address=_argument("addr"), length=_argument("new_len")
    ),
    "syscalls:sys_exit_mmap": _returned(Operation.MAP),
    "syscalls:sys_exit_brk": _returned(Operation.BRK),
    "syscalls:sys_exit_mremap": _returned(Operation.REMAP),
    "syscalls:sys_enter_munmap": Fields(
        _code(Operation.UNMAP), "addr: 0x... and len: 0x...", address=_argument("addr"), length=_argument("len")
    ),
    "syscalls:sys_enter_mprotect": Fields(
        _code(Operation.PROTECT),
        "start: 0x..., len: 0x... and prot: 0x...",
        address=_argument("start"),
        length=_argument("len"),
        flags=_argument("prot"),
    ),
    "syscalls:sys_enter_madvise": Fields(
        _code(Operation.ADVISE),
        "start: 0x..., len_in: 0x... and behavior: 0x...",
        address=_argument("start"),
        length=_argument("len_in"),
        flags=_argument("behavior"),
    ),
    "task:task_newtask": Fields(
        _code(Operation.CLONE),
        "pid=... and clone_flags=...",
        peer=_REST.str.extract(r"[ \t]pid=([0-9]{1,18})").cast(pl.UInt64, strict=False),
        # The command name before it may hold anything, so the last word that fits is meant.
        flags=_first_hex(rf".*[ \t]clone_flags={_HEX}"),
    ),
    EXEC: Fields(_code(Operation.EXEC)),
    NEW_IMAGE: Fields(_code(Operation.EXEC)),
    EXIT: Fields(_code(Operation.EXIT)),
}
"""How each event that can become an operation is read; a system call is taken to succeed if no return tells."""
SAMPLED_EVENTS: Final = tuple(name for name in FIELDS if name != NEW_IMAGE)
"""Events whose every line can become an operation."""
EVENT_NAMES: Final = (*SAMPLED_EVENTS, *LEFT_OUT_EVENTS)


def read_block(block: bytes) -> pl.DataFrame:
    """Return the lines of a block of whole lines.

    Columns: `text`, `fate` (as far as the line alone decides it), `event` (null if not known), `name` of the event as
    it stands there, `comm`, `tid` (-1: none), `cpu`, `time_ns`, and `rest` of the line from the thread on.
    """
    try:
        block.decode()
    except UnicodeDecodeError:
        block = block.decode(errors="backslashreplace").encode()
    text = pl.col("text")
    binary = text.cast(pl.Binary)
    lines = (
        pl.read_lines(io.BytesIO(block), name="text")
        .select(text.str.strip_chars(" \t\r"))
        .with_columns(start=text.str.find(_HEADER))
        .with_columns(
            comm=binary.bin.head(pl.col("start")).cast(pl.String).str.strip_chars_end(" \t"),
            rest=binary.bin.slice(pl.col("start")).cast(pl.String),
        )
        .with_columns(head=_REST.str.extract_groups(_HEADER_AND_EVENT))
        .unnest("head")
    )
    seconds, fraction = (pl.col(name).cast(pl.Int64, strict=False) for name in ("3", "4"))
    nanoseconds = pl.col("4").str.pad_end(9, "0").cast(pl.Int64, strict=False)
    is_time = (seconds <= _SECONDS_MAX) & (nanoseconds < _NS_PER_S) & fraction.is_not_null()
    return (
        lines.select(
            "text",
            "comm",
            "rest",
            tid=pl.col("1").cast(pl.Int64),
            cpu=pl.col("2").cast(pl.Int64),
            time_ns=pl.when(is_time).then(seconds * _NS_PER_S + nanoseconds),
            name=pl.col("5").str.strip_suffix(":"),
        )
        .with_columns(event=pl.col("name").cast(pl.Enum(EVENT_NAMES), strict=False), fate=_code(Fate.OPERATION))
        .with_columns(fate=_fate())
    )


def _fate() -> pl.Expr:
    """Tell what becomes of a line by its beginning."""
    is_sampled = pl.col("event").is_in(SAMPLED_EVENTS) | _REST.str.contains(f" {NEW_IMAGE} exec:", literal=True)
    return chosen_fate(
        (pl.col("text") == "", Fate.BLANK),
        (pl.col("text").str.starts_with("#"), Fate.COMMENT),
        (pl.col("time_ns").is_null(), Fate.NO_HEADER),
        (pl.col("tid") > PID_LIMIT, Fate.HIGH_PID),
        (pl.col("cpu") > VCPU_LIMIT, Fate.HIGH_CPU),
        (pl.col("name") == "", Fate.NO_EVENT),
        (pl.col("event").is_null(), Fate.UNKNOWN_EVENT),
        (~is_sampled, Fate.QUIET),
        (pl.col("tid") < 0, Fate.NO_PROCESS),
        (pl.col("comm").str.len_bytes() > COMM_BYTES, Fate.BAD_COMM),
    )


def read_fields(lines: pl.DataFrame) -> pl.DataFrame:
    """Return lines of sampled events with `kind`, `address`, `length`, `peer` and `flags`, in the same order.

    `fate` becomes BAD_FIELDS where a field is missing, HIGH_PID for a child above the limit, and KERNEL_ADDRESS.
    """
    given = lines.select("line", "event", "rest")
    parts = [_of_event(part) for part in given.partition_by("event")] or [_of_event(given)]
    is_fault, address = pl.col("kind") == Operation.FAULT, pl.col("address")
    return (
        lines.drop("rest")
        .hstack(pl.concat(parts).sort("line").drop("line"))
        .with_columns(
            fate=chosen_fate(
                (pl.any_horizontal(pl.col("kind", "address", "length", "peer", "flags").is_null()), Fate.BAD_FIELDS),
                (pl.col("peer") > PID_LIMIT, Fate.HIGH_PID),
                (is_fault & (address >= _KERNEL_START), Fate.KERNEL_ADDRESS),
            ),
            flags=(pl.col("flags") & _LOW_32).cast(pl.UInt32),
        )
    )


def _of_event(lines: pl.DataFrame) -> pl.DataFrame:
    """Read the fields of lines that all have the same event."""
    fields = FIELDS[lines["event"][0]] if len(lines) else Fields(_code(0))
    return lines.select(
        "line", kind=fields.kind, address=fields.address, length=fields.length, peer=fields.peer, flags=fields.flags
    )


def lost_events(lines: pl.DataFrame) -> int:
    """Add up the events that perf itself says are lost."""
    lost = lines.filter(pl.col("event").is_in(LOST_EVENTS))["rest"].str.extract(r"[ \t]lost[ \t]*([0-9]{1,18})")
    return int(lost.cast(pl.Int64, strict=False).sum())


def reason(fate: int, *, text: str, event: str | None, previous_ns: int | None) -> str:
    """Say why a line can't be read; `previous_ns` is the time of the operation before it."""
    fields = FIELDS[event].needs if event in FIELDS else ""
    previous = f"{(previous_ns or 0) / _NS_PER_S:.6f}"
    return DEFECTS[Fate(fate)].format(header=_missing(text), event=event, fields=fields, previous=previous)


def _missing(text: str) -> str:
    """Say how far the beginning of a line can be read."""
    if re.search(r"\S" + _TASK + _CPU, text, re.ASCII):
        return NO_TIME
    return NO_CPU if re.search(r"\S" + _TASK, text, re.ASCII) else NO_TASK
