"""Reads blocks of `perf script` text: what each line says, without a look at any other.

One line is `command pid/tid [cpu] seconds: event: fields`. The command may hold spaces and slashes, so a line is cut at
the first `] seconds:` in it. Few tasks (a command, its thread, a CPU) are in a block, so each is read once.
"""

import io
import re
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.operations import OPERATION
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
    UNKNOWN_EVENT = 9
    BAD_FIELDS = 10
    TIME_BACKWARDS = 11
    HIGH_PID = 12
    HIGH_CPU = 13
    BAD_COMM = 14
    MANY_COMMS = 15


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
    Fate.UNKNOWN_EVENT: "{unknown}",
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

_TASK: Final = " [-0-9]+/(?P<pid>-1|[0-9]{1,18})"
_CPU: Final = r" *\[(?P<vcpu>[0-9]{1,18})"
_END_OF_TASK: Final = r"\] *[0-9]{1,10}\.[0-9]{1,9}:"
_BEGIN: Final = f"^ *(?P<comm>[^ ].*?) *{_TASK}{_CPU}$"
_REST: Final = pl.col("rest")
"""A line from the name of its event on."""
_WORDS: Final = pl.col("words")
"""The first words of the rest, as a struct."""
_WORDS_READ: Final = 4
_NONE: Final = pl.lit(0, pl.UInt64)


def _code(value: int) -> pl.Expr:
    return pl.lit(value, pl.UInt8)


def _first_of(*cases: tuple[pl.Expr, Fate]) -> pl.Expr:
    """Return the fate of the first condition that a line meets."""
    fate = _code(Fate.OPERATION)
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

    def columns(self) -> dict[str, pl.Expr]:
        """Return the fields of the operation by name."""
        return {name: expression for name, expression in self._asdict().items() if name != "needs"}


def _hex(word: pl.Expr) -> pl.Expr:
    return word.str.to_integer(base=16, dtype=pl.UInt64, strict=False)


def _word_after(label: str) -> pl.Expr:
    """Return the word or list item behind the first label; literal splits, for polars keeps few patterns compiled."""
    return _REST.str.splitn(label, 2).struct[1].str.splitn(" ", 2).struct[0].str.strip_suffix(",")


def _argument(name: str) -> pl.Expr:
    """Return an argument of a system call, as in `len: 0x1000,`; the first word of that name counts."""
    return _hex(_word_after(f" {name}: 0x"))


def _mapping_bits(flags: pl.Series) -> pl.Series:
    """Return the upper bits of a MAP's flags from the flags that mmap(2) was called with."""
    is_shared = flags & _LINUX_MAP_SHARED != 0
    is_fixed = flags & (_LINUX_MAP_FIXED | _LINUX_MAP_FIXED_NOREPLACE) != 0
    is_file = flags & _LINUX_MAP_ANONYMOUS == 0
    bits = ((is_shared, MAP_SHARED_BIT), (is_fixed, MAP_FIXED_BIT), (is_file, MAP_FILE_BIT))
    return sum((is_set.cast(pl.UInt64) * bit for is_set, bit in bits), start=flags * 0)


_SWITCHES: Final = {"IN": Operation.SWITCH_IN, "OUT": Operation.SWITCH_OUT}
_SWITCH: Final = Fields(
    _WORDS.struct[1].replace_strict(_SWITCHES, default=None, return_dtype=pl.UInt8),
    "IN, OUT or OUT preempt",
    flags=(_WORDS.struct[2] == "preempt").fill_null(value=False).cast(pl.UInt64),
)


def _hex_word(place: int, prefix: str) -> pl.Expr:
    """Return the number behind a prefix in a word of the line; a search for it would take twice as long."""
    word = _WORDS.struct[place]
    return pl.when(word.str.starts_with(prefix)).then(_hex(word.str.strip_prefix(prefix)))


_FAULT: Final = Fields(
    _code(Operation.FAULT),
    "address=0x... and error_code=0x...",
    # perf prints an address that lies in a kernel symbol as the symbol's name.
    address=pl.when(_WORDS.struct[1].str.contains("^address=[A-Za-z_]"))
    .then(pl.lit(_KERNEL_START, pl.UInt64))
    .otherwise(_hex_word(1, "address=0x")),
    flags=_hex_word(3, "error_code=0x"),
)
"""Linux 6.1 arch/x86/include/asm/trace/exceptions.h prints these words: address, ip, error_code."""


def _returned(kind: Operation) -> Fields:
    return Fields(_code(kind), "the value returned, 0x...", address=_hex(_word_after(": 0x")))


def _called(kind: Operation, **arguments: str) -> Fields:
    """Take fields of an operation from the arguments of those names."""
    words = [f"{name}: 0x..." for name in arguments.values()]
    needs = f"{', '.join(words[:-1])} and {words[-1]}"
    return Fields(_code(kind), needs, **{field: _argument(name) for field, name in arguments.items()})


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
    "syscalls:sys_enter_mremap": _called(Operation.REMAP, address="addr", length="new_len"),
    "syscalls:sys_exit_mmap": _returned(Operation.MAP),
    "syscalls:sys_exit_brk": _returned(Operation.BRK),
    "syscalls:sys_exit_mremap": _returned(Operation.REMAP),
    "syscalls:sys_enter_munmap": _called(Operation.UNMAP, address="addr", length="len"),
    "syscalls:sys_enter_mprotect": _called(Operation.PROTECT, address="start", length="len", flags="prot"),
    "syscalls:sys_enter_madvise": _called(Operation.ADVISE, address="start", length="len_in", flags="behavior"),
    "task:task_newtask": Fields(
        _code(Operation.CLONE),
        "pid=... and clone_flags=...",
        peer=_word_after(" pid=").str.to_integer(dtype=pl.UInt64, strict=False),
        # The command name before it may hold anything, so the last word that fits is meant.
        flags=_hex(_REST.str.split(" clone_flags=").list.last().str.splitn(" ", 2).struct[0]),
    ),
    EXEC: Fields(_code(Operation.EXEC)),
    NEW_IMAGE: Fields(_code(Operation.EXEC)),
    EXIT: Fields(_code(Operation.EXIT)),
}
"""How each event that can become an operation is read; a system call is taken to succeed if no return tells."""
SAMPLED_EVENTS: Final = tuple(name for name in FIELDS if name != NEW_IMAGE)
"""Events whose every line can become an operation."""
EVENT_NAMES: Final = (*SAMPLED_EVENTS, *LEFT_OUT_EVENTS)
EVENT_CODES: Final = {name: code for code, name in enumerate(EVENT_NAMES)}
UNKNOWN_EVENT: Final = len(EVENT_NAMES)

LINE: Final = np.dtype([*OPERATION.descr, ("event", np.uint8), ("fate", np.uint8), ("task", np.uint32)])
"""What a line says: the fields of an operation (`time_ns` on the clock of the recording), the code of its event, its
`Fate`, and its task as an index into `Block.comms`."""
Lines = npt.NDArray[np.void]

_FATE_OF_FIELDS: Final = _first_of(
    (pl.any_horizontal(pl.all().is_null()), Fate.BAD_FIELDS),
    (pl.col("peer") > PID_LIMIT, Fate.HIGH_PID),
    ((pl.col("kind") == Operation.FAULT) & (pl.col("address") >= _KERNEL_START), Fate.KERNEL_ADDRESS),
)


class Block(NamedTuple):
    """The lines of a block, in order."""

    text: pl.Series
    lines: Lines
    comms: list[str]
    lost: int
    """Events that perf itself says are lost."""


def read_block(block: bytes) -> Block:
    """Read a block of whole lines; a tab counts as a space, and bytes that are no UTF-8 become escapes."""
    block = block.replace(b"\t", b" ").replace(b"\r\n", b"\n")
    try:
        block.decode()
    except UnicodeDecodeError:
        block = block.decode(errors="backslashreplace").encode()
    text = pl.col("text").cast(pl.Binary)
    cut = (
        pl.read_lines(io.BytesIO(block), name="text")
        .with_columns(end=pl.col("text").str.find(_END_OF_TASK))
        .select(
            "text",
            begin=text.bin.head("end").cast(pl.String).fill_null(pl.col("text")),
            tail=text.bin.slice("end").cast(pl.String).str.splitn(":", 2),
        )
    )
    tasks = _tasks(cut["begin"])
    seconds = pl.col("tail").struct[0].str.strip_chars_start("] ").cast(pl.Decimal(38, 9))
    read = (
        cut.join(tasks, on="begin", how="left", maintain_order="left")
        .with_columns(
            time_ns=pl.when(seconds <= _SECONDS_MAX).then(seconds * _NS_PER_S).cast(pl.Int64),
            rest=pl.col("tail").struct[1].str.strip_chars_start(" "),
        )
        .with_columns(words=_REST.str.split_exact(" ", _WORDS_READ - 1))
        .with_columns(event=_event())
        .select("task", "pid", "vcpu", "time_ns", "event", "rest", "words", fate=_fate())
        .with_row_index("line")
    )
    lines = np.zeros(len(read), LINE)
    for field in ("time_ns", "pid", "vcpu", "event", "fate", "task"):
        lines[field] = read[field].fill_null(0).to_numpy()
    _read_fields(read.filter(pl.col("fate") == Fate.OPERATION), lines)
    lost = read.filter(pl.col("event").is_in([EVENT_CODES[name] for name in LOST_EVENTS]))["rest"]
    lost = lost.str.extract(" lost *([0-9]{1,18})").cast(pl.Int64)
    return Block(cut["text"], lines, tasks["comm"].to_list(), int(lost.sum()))


def _tasks(begins: pl.Series) -> pl.DataFrame:
    """Read the beginnings of lines, each once; a line that can't be cut is a beginning as a whole."""
    begin, pid, vcpu = pl.col("begin"), pl.col("pid"), pl.col("vcpu")
    return (
        pl.DataFrame({"begin": begins.unique(maintain_order=True)})
        .with_columns(begin.str.extract_groups(_BEGIN).alias("task"))
        .unnest("task")
        .with_columns(pl.col("comm").str.strip_chars_end(" "), pl.col("pid", "vcpu").cast(pl.Int64))
        .with_columns(
            task_fate=_first_of(
                (begin.str.strip_chars(" \r") == "", Fate.BLANK),
                (begin.str.strip_chars_start(" ").str.starts_with("#"), Fate.COMMENT),
                (pid.is_null(), Fate.NO_HEADER),
                (pid > PID_LIMIT, Fate.HIGH_PID),
                (vcpu > VCPU_LIMIT, Fate.HIGH_CPU),
                (pid < 0, Fate.NO_PROCESS),
                (pl.col("comm").str.len_bytes() > COMM_BYTES, Fate.BAD_COMM),
            )
        )
        .with_row_index("task")
    )


def _event() -> pl.Expr:
    """Return the code of the event that a line names."""
    name = _WORDS.struct[0].str.strip_suffix(":")
    code = name.cast(pl.Enum(EVENT_NAMES), strict=False).to_physical().fill_null(UNKNOWN_EVENT)
    for noted in ("PERF_RECORD_FORK", "PERF_RECORD_EXIT"):
        code = pl.when(name.str.starts_with(f"{noted}(")).then(_code(EVENT_CODES[noted])).otherwise(code)
    return code


def _fate() -> pl.Expr:
    """Tell what becomes of a line by its task, its time and its event."""
    task_fate, event = pl.col("task_fate"), pl.col("event")
    is_sampled = (event < len(SAMPLED_EVENTS)) | _REST.str.starts_with(f"{NEW_IMAGE} exec:")
    return (
        pl.when(task_fate.is_in([Fate.OPERATION, Fate.NO_PROCESS, Fate.BAD_COMM]).not_())
        .then(task_fate)
        .when(pl.col("time_ns").is_null())
        .then(_code(Fate.NO_HEADER))
        .when(event == UNKNOWN_EVENT)
        .then(_code(Fate.UNKNOWN_EVENT))
        .when(~is_sampled)
        .then(_code(Fate.QUIET))
        .otherwise(task_fate)
    )


def _read_fields(read: pl.DataFrame, lines: Lines) -> None:
    """Put what the fields of sampled events say into their lines."""
    events = read.partition_by("event", as_dict=True, include_key=False)
    parts = [part.select("line", **FIELDS[EVENT_NAMES[event]].columns()) for (event,), part in events.items()]
    if parts:
        told = pl.concat(parts).with_columns(fate=_FATE_OF_FIELDS).with_columns(pl.all().fill_null(0))
        rows = told["line"].to_numpy()
        for name in told.columns[1:]:
            lines[name][rows] = told[name].to_numpy()


def reason(line: np.void, *, text: str, previous_ns: int) -> str:
    """Say why a line can't be read; `previous_ns` is the time of the operation before it."""
    name = EVENT_NAMES[line["event"]] if line["event"] < UNKNOWN_EVENT else ""
    fields = FIELDS[name].needs if name in FIELDS else ""
    previous = f"{previous_ns / _NS_PER_S:.6f}"
    return DEFECTS[Fate(line["fate"])].format(
        header=_missing_of_header(text), unknown=_unknown_event(text), event=name, fields=fields, previous=previous
    )


def _missing_of_header(text: str) -> str:
    """Say how far the beginning of a line can be read."""
    if re.search(r"\S" + _TASK + _CPU + r"\]", text):
        return NO_TIME
    return NO_CPU if re.search(r"\S" + _TASK, text) else NO_TASK


def _unknown_event(text: str) -> str:
    """Say what stands in the place of the event."""
    found = re.search(_END_OF_TASK + " *([A-Za-z0-9_:-]+)", text)
    return f"unknown event {found[1].removesuffix(':')!r}" if found else "no event after the time"
