"""Reads `perf script` text as layer-1 operations, in one pass and in memory that does not depend on its length."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from engine.operations import OPERATION, Operations
from sweep.recordings.errors import TraceError
from sweep.recordings.exec_order import REACH_OPERATIONS, move_exec
from sweep.recordings.lives import Lives
from sweep.recordings.perf.events import (
    COMM_LIMIT,
    DEFECTS,
    EVENT_NAMES,
    EXEC,
    FIRST_DEFECT,
    LEFT_OUT,
    LEFT_OUT_EVENTS,
    NO_RETURN,
    Fate,
)
from sweep.recordings.perf.lines import lost_events, read_block, read_fields, reason
from sweep.recordings.perf.pairs import Pairs
from sweep.recordings.soundness import Reading, unsound_reasons
from sweep.recordings.source import TextSource

SHOWN_DEFECTS: Final = 20
"""Lines that can't be read are all counted; so many are shown."""
SCRIPT_FIELDS: Final = "comm,pid,tid,cpu,time,event,trace"
"""What `perf script -F` must be told to print."""
_SHOWN_BYTES: Final = 160
_NS_PER_S: Final = 1e9
_COLUMNS: Final = {
    "address": "address",
    "length": "length",
    "pid": "tid",
    "peer": "peer",
    "flags": "flags",
    "kind": "kind",
    "vcpu": "cpu",
    "comm": "comm_index",
}


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
        return _marked(lines.drop("reached"), pl.col("time_ns") < pl.col("previous_ns"), Fate.TIME_BACKWARDS)

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
        return _marked(lines, is_in_order & pl.col("comm_index").is_null(), Fate.MANY_COMMS)

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
            for field, column in _COLUMNS.items():
                operations[field] = lines[column].to_numpy()
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


def _marked(lines: pl.DataFrame, condition: pl.Expr, fate: Fate) -> pl.DataFrame:
    """Give the lines that meet a condition another fate."""
    return lines.with_columns(fate=pl.when(condition).then(pl.lit(int(fate), pl.UInt8)).otherwise("fate"))
