"""Reads `perf script` text as layer-1 operations, in one pass and in memory that does not depend on its length."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from engine.operations import OPERATION, Operations
from engine.vocabulary import Operation
from sweep.exit_codes import TraceError
from sweep.recordings.perf.lines import (
    COMM_LIMIT,
    DEFECTS,
    ENTRIES,
    EVENT_NAMES,
    EXEC,
    EXIT,
    FIRST_DEFECT,
    LEFT_OUT,
    LEFT_OUT_EVENTS,
    NEW_IMAGE,
    NO_RETURN,
    RETURNS,
    Fate,
    chosen_fate,
    lost_events,
    read_block,
    read_fields,
    reason,
)
from sweep.recordings.soundness import Lives, Reading, unsound_reasons
from sweep.recordings.source import TextSource

REACH_OPERATIONS: Final = 4096
"""How far back an EXEC may go, in operations of all threads: an import keeps so many. An exec faults 2 to 4 times."""
_WRITE: Final = 1 << 1
_USER: Final = 1 << 2
"""Bits of an x86 page-fault error code."""


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
    is_write = (own["kind"] == Operation.FAULT) & (own["flags"] & (_WRITE | _USER) == _WRITE)
    others = np.flatnonzero(~is_write)
    writes = same_thread[others[-1] + 1 if len(others) else 0 :]
    if len(writes):
        target = int(writes[0])
        moved = operations[place].copy()
        moved["time_ns"] = operations["time_ns"][target]
        operations[target + 1 : place + 1] = operations[target:place].copy()
        operations[target] = moved


_SECOND_OF: Final = {**dict(zip(ENTRIES, RETURNS, strict=True)), NEW_IMAGE: EXEC}
_FIRST_ERROR: Final = 2**64 - 4095
"""A call that failed returns a number from -4095 to -1, Linux 6.1 include/linux/err.h, MAX_ERRNO."""


class Pairs:
    """Joins lines block by block; what it remembers grows with the number of threads."""

    def __init__(self) -> None:
        """Start with no line that waits for its second."""
        self._waiting: pl.DataFrame | None = None
        self.unanswered = 0
        """Entries of calls whose return was not seen so far."""

    def join(self, lines: pl.DataFrame) -> pl.DataFrame:
        """Make one operation of two lines that belong together: entry and return of a call, or both lines of an exec.

        A thread does one such thing at a time. So two lines belong together if no other line of these events stands
        between them in their thread. A call is an operation at its return, an exec at its first line.
        """
        is_paired = pl.col("event").is_in([*_SECOND_OF, *_SECOND_OF.values(), EXIT])
        is_paired &= pl.col("fate") != Fate.TIME_BACKWARDS
        pairs = lines.filter(is_paired)
        if self._waiting is not None:
            pairs = pl.concat([self._waiting, pairs])
        pairs = pairs.sort("tid", maintain_order=True)
        is_begun = pl.col("event").is_in(list(_SECOND_OF)) & (pl.col("fate") == Fate.OPERATION)
        is_last = pl.col("tid").ne_missing(pl.col("tid").shift(-1))
        self._waiting = pairs.filter(is_last & is_begun).with_columns(line=pl.lit(0, pairs.schema["line"]))
        event = pl.col("event").cast(pl.String)
        begun = pl.when(is_begun).then(event.replace_strict(_SECOND_OF, default=None))
        is_of_same = pl.col("tid") == pl.col("tid").shift()
        pairs = pairs.with_columns(
            ends=(is_of_same & (begun.shift() == event)).fill_null(value=False),
            **{f"given_{name}": pl.col(name).shift() for name in ("address", "length", "flags")},
        )
        pairs = self._answered(pairs.filter(pl.col("line") > 0)).select(lines.columns)
        return pl.concat([lines.filter(~is_paired), pairs]).sort("line")

    def _answered(self, pairs: pl.DataFrame) -> pl.DataFrame:
        """Complete the returns of calls; their entries, and the second line of an exec, are nothing of their own."""
        is_sound = pl.col("fate") == Fate.OPERATION
        is_entry, is_return = (pl.col("event").is_in(names) for names in (ENTRIES, RETURNS))
        entries, returns = pairs.select((is_entry & is_sound).sum(), ends=(is_return & pl.col("ends")).sum()).row(0)
        self.unanswered += entries - returns
        is_return &= is_sound
        is_remap = pl.col("kind") == Operation.REMAP
        return pairs.with_columns(
            fate=chosen_fate(
                (is_sound & (is_entry | (pl.col("event") == EXEC) & pl.col("ends")), Fate.QUIET),
                (is_return & ~pl.col("ends"), Fate.RETURN_ONLY),
                (is_return & (pl.col("address") >= _FIRST_ERROR), Fate.FAILED_CALL),
            ),
            address=pl.when(is_return & is_remap).then("given_address").otherwise("address"),
            length=pl.when(is_return).then("given_length").otherwise("length"),
            flags=pl.when(is_return).then("given_flags").otherwise("flags"),
        )


SHOWN_DEFECTS: Final = 20
"""Lines that can't be read are all counted; so many are shown."""
SCRIPT_FIELDS: Final = "comm,pid,tid,cpu,time,event,trace"
"""What `perf script -F` must be told to print."""
_SHOWN_BYTES: Final = 160
_NS_PER_S: Final = 1e9
_COLUMNS: Final = {"pid": "tid", "vcpu": "cpu", "comm": "comm_index"}
"""Fields of an operation that have other names as columns of lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What became of the lines of a recording; every line is in exactly one entry of `lines_by_kind` or unreadable."""

    source: str
    digest: str
    """blake2b of the recording as it is stored, 32 bytes, hexadecimal."""
    lines: int
    operations: int
    commands: int
    span_ns: int
    start_s: float
    """Time of the first operation on the clock of the recording."""
    lines_by_kind: dict[str, int]
    left_out: dict[str, int]
    """Lines and events that are no operation, by reason; joined calls are in neither."""
    unreadable: int
    defects: tuple[str, ...]
    """The first unreadable lines: place, reason and text."""
    lost: int
    """Events that perf itself reports as lost."""
    unsound: tuple[str, ...]
    """Why answers from this recording would be wrong; nothing if it is sound."""

    def facts(self) -> dict[str, Any]:
        """Return what a stored trace keeps about its source."""
        return {
            "name": self.source,
            "blake2b": self.digest,
            "format": "perf",
            "lines": self.lines,
            "start_s": self.start_s,
            "lines_by_kind": self.lines_by_kind,
            "left_out": self.left_out,
            "unreadable": self.unreadable,
            "lost": self.lost,
            "unsound": list(self.unsound),
        }


class PerfText:
    """One pass over a recording: `chunks` first, then `comms` and `report`."""

    def __init__(self, source: TextSource) -> None:
        """Read from an open source."""
        self._source = source
        self._lines = 0
        self._operations = 0
        self._last_ns = 0
        self._base_ns: int | None = None
        self._comms: dict[str, int] = {}
        self._pairs = Pairs()
        self._events: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()
        self._fates: Counter[int] = Counter()
        self._lost = 0
        self._lives = Lives()
        self._noted: Counter[str] = Counter()
        self._defects: list[str] = []

    @property
    def comms(self) -> tuple[str, ...]:
        """Return the command names that were seen so far, in the order of their first operation."""
        return tuple(self._comms)

    def chunks(self) -> Iterator[Operations]:
        """Yield the operations in order.

        Raises:
            TraceError: the source is truncated or damaged, or holds no operation at all.
        """
        held = np.zeros(0, OPERATION)
        for block in self._source.blocks():
            lines = self._lines_of(block)
            is_late = (lines["event"] == EXEC).to_numpy()
            places = np.flatnonzero(is_late) + len(held)
            held = np.concatenate([held, self._packed(lines)])
            for place in places.tolist():
                move_exec(held, place)
            if len(held) > REACH_OPERATIONS:
                self._lives.add(held[:-REACH_OPERATIONS])
                yield held[:-REACH_OPERATIONS]
                held = held[-REACH_OPERATIONS:]
        if len(held):
            self._lives.add(held)
            yield held
        if not self._operations:
            raise TraceError(self._nothing_found())

    def report(self) -> ImportReport:
        """Return what became of the lines; final after the last chunk."""
        left_out = {name: self._left_out[name] for name in LEFT_OUT_EVENTS}
        left_out |= {name: self._fates[fate] for fate, name in LEFT_OUT.items()}
        left_out[NO_RETURN] = self._pairs.unanswered
        by_kind = {name: self._events[name] for name in EVENT_NAMES}
        by_kind |= {LEFT_OUT[fate]: self._fates[fate] for fate in (Fate.BLANK, Fate.COMMENT)}
        base_ns = self._base_ns or 0
        return ImportReport(
            source=self._source.name,
            digest=self._source.digest,
            lines=self._lines,
            operations=self._operations,
            commands=len(self._comms),
            span_ns=self._last_ns - base_ns,
            start_s=base_ns / _NS_PER_S,
            lines_by_kind={name: count for name, count in by_kind.items() if count},
            left_out={name: count for name, count in left_out.items() if count},
            unreadable=self._unreadable,
            defects=tuple(self._defects),
            lost=self._lost,
            unsound=unsound_reasons(self._reading(), self._lives),
        )

    def _reading(self) -> Reading:
        return Reading(
            lines=self._lines,
            unreadable=self._unreadable,
            falling=self._fates[Fate.TIME_BACKWARDS],
            lost=self._lost,
            forks_noted=self._noted["PERF_RECORD_FORK"],
            exits_noted=self._noted["PERF_RECORD_EXIT"],
        )

    @property
    def _unreadable(self) -> int:
        return sum(self._fates[fate] for fate in DEFECTS)

    def _lines_of(self, block: bytes) -> pl.DataFrame:
        """Return the lines of a block that are operations; what a line is, earlier ones may decide."""
        lines = read_block(block).with_row_index("line", self._lines + 1)
        self._lines += len(lines)
        is_candidate = pl.col("fate") == Fate.OPERATION
        rest = lines.filter(~is_candidate)
        candidates = read_fields(lines.filter(is_candidate)).drop("text", "name")
        candidates = self._pairs.join(self._named(self._in_order(candidates)))
        self._count(rest)
        self._count(candidates)
        self._lost += lost_events(rest)
        # At time 0 perf writes what it found when it began.
        noted = rest.filter(pl.col("event").is_in(["PERF_RECORD_FORK", "PERF_RECORD_EXIT"]) & (pl.col("time_ns") > 0))
        self._noted.update(noted["event"].cast(pl.String).to_list())
        self._note(lines, pl.concat([rest, candidates], how="diagonal"))
        return candidates.filter(is_candidate)

    def _in_order(self, lines: pl.DataFrame) -> pl.DataFrame:
        """Mark the lines whose time is before that of an earlier operation, which `previous_ns` tells."""
        times = pl.when(pl.col("fate") < FIRST_DEFECT).then("time_ns").otherwise(self._last_ns)
        lines = lines.with_columns(reached=times.cum_max().clip(self._last_ns)).with_columns(
            previous_ns=pl.col("reached").shift(1, fill_value=self._last_ns)
        )
        self._last_ns = lines["reached"][-1] if len(lines) else self._last_ns
        fate = chosen_fate((pl.col("time_ns") < pl.col("previous_ns"), Fate.TIME_BACKWARDS))
        return lines.drop("reached").with_columns(fate=fate)

    def _named(self, lines: pl.DataFrame) -> pl.DataFrame:
        """Find the indexes of command names; new names get the next ones."""
        is_in_order = pl.col("fate") != Fate.TIME_BACKWARDS
        names = lines.filter(is_in_order)["comm"].unique(maintain_order=True).to_list()
        for name in names:
            if len(self._comms) < COMM_LIMIT:
                self._comms.setdefault(name, len(self._comms))
        known = {name: self._comms[name] for name in names if name in self._comms}
        index = pl.col("comm").replace_strict(known, default=None, return_dtype=pl.UInt16)
        lines = lines.with_columns(comm_index=index).drop("comm")
        return lines.with_columns(fate=chosen_fate((is_in_order & pl.col("comm_index").is_null(), Fate.MANY_COMMS)))

    def _count(self, lines: pl.DataFrame) -> None:
        """Count lines by what became of them, and those that can be read by event."""
        for event, fate, count in lines.group_by("event", "fate").len().iter_rows():
            self._fates[fate] += count
            if fate < FIRST_DEFECT and event is not None:
                self._events[event] += count
                self._left_out[event] += count if fate != Fate.OPERATION else 0

    def _note(self, lines: pl.DataFrame, read: pl.DataFrame) -> None:
        """Keep the first unreadable lines as text."""
        room = SHOWN_DEFECTS - len(self._defects)
        shown = read.filter(pl.col("fate") >= FIRST_DEFECT).sort("line").head(room)
        shown = shown.select("line", "fate", "previous_ns")
        for row in shown.join(lines.select("line", "text", "name"), on="line", maintain_order="left").iter_rows(
            named=True
        ):
            text = row["text"]
            why = reason(row["fate"], text=text, event=row["name"], previous_ns=row["previous_ns"])
            cut = text if len(text) <= _SHOWN_BYTES else f"{text[:_SHOWN_BYTES]}..."
            self._defects.append(f"{self._source.name}:{row['line']}: {why}: {cut}")

    def _packed(self, lines: pl.DataFrame) -> Operations:
        """Make operations of the lines that are left."""
        operations = np.zeros(len(lines), OPERATION)
        self._operations += len(lines)
        if len(lines):
            self._base_ns = lines["time_ns"][0] if self._base_ns is None else self._base_ns
            operations["time_ns"] = lines["time_ns"].to_numpy() - self._base_ns
            for field in ("address", "length", "pid", "peer", "flags", "kind", "vcpu", "comm"):
                operations[field] = lines[_COLUMNS.get(field, field)].to_numpy()
        return operations

    def _nothing_found(self) -> str:
        """Say that a file holds no operation, and what it should hold."""
        wanted = f"Expected the text of: perf script -F {SCRIPT_FIELDS} (see: sweep trace record --help)"
        if not self._lines:
            return f"{self._source.name}: the file is empty\n{wanted}"
        first = "".join(f"\n{text}" for text in self._defects[:1])
        found = (
            f"{self._source.name}: none of its {self._lines:,} lines is an operation, "
            f"{self._unreadable:,} can't be read"
        )
        return f"{found}{first}\n{wanted}"
