"""Reads `perf script` text as layer-1 operations, in one pass and in memory that does not depend on its length."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.operations import OPERATION, Operations
from sweep.exit_codes import TraceError
from sweep.recordings.perf.lines import (
    COMM_LIMIT,
    EVENT_CODES,
    EVENT_NAMES,
    EXEC,
    FIRST_DEFECT,
    LEFT_OUT,
    LEFT_OUT_EVENTS,
    NO_RETURN,
    UNKNOWN_EVENT,
    Block,
    Fate,
    Lines,
    read_block,
    reason,
)
from sweep.recordings.perf.pairs import REACH_OPERATIONS, Pairs, move_exec
from sweep.recordings.soundness import Lives, Reading, unsound_reasons
from sweep.recordings.source import TextSource

SHOWN_DEFECTS: Final = 20
"""Lines that can't be read are all counted; so many are shown."""
SCRIPT_FIELDS: Final = "comm,pid,tid,cpu,time,event,trace"
"""What `perf script -F` must be told to print."""
_SHOWN_BYTES: Final = 160
_NS_PER_S: Final = 1e9
Times = npt.NDArray[np.uint64]


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
        self._operations = 0
        self._last_ns = 0
        self._base_ns: int | None = None
        self._comms: dict[str, int] = {}
        self._pairs = Pairs()
        self._counts = np.zeros((UNKNOWN_EVENT + 1, len(Fate)), np.int64)
        """Lines by code of their event and by fate."""
        self._noted = np.zeros(UNKNOWN_EVENT + 1, np.int64)
        """Lines of the recorded time by code of their event; at time 0 perf writes what it found when it began."""
        self._lost = 0
        self._lives = Lives()
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
            lines = self._lines_of(read_block(block))
            places = np.flatnonzero(lines["event"] == EVENT_CODES[EXEC]) + len(held)
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
        known = self._counts[:, :FIRST_DEFECT]
        by_event = dict(zip(EVENT_NAMES, known.sum(axis=1).tolist(), strict=False))
        fates = self._counts.sum(axis=0).tolist()
        left_out = {name: by_event[name] - int(known[EVENT_CODES[name], Fate.OPERATION]) for name in LEFT_OUT_EVENTS}
        left_out |= {name: fates[fate] for fate, name in LEFT_OUT.items()}
        left_out[NO_RETURN] = self._pairs.unanswered
        by_kind = by_event | {LEFT_OUT[fate]: fates[fate] for fate in (Fate.BLANK, Fate.COMMENT)}
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
            falling=int(self._counts[:, Fate.TIME_BACKWARDS].sum()),
            lost=self._lost,
            forks_noted=int(self._noted[EVENT_CODES["PERF_RECORD_FORK"]]),
            exits_noted=int(self._noted[EVENT_CODES["PERF_RECORD_EXIT"]]),
        )

    @property
    def _lines(self) -> int:
        return int(self._counts.sum())

    @property
    def _unreadable(self) -> int:
        return int(self._counts[:, FIRST_DEFECT:].sum())

    def _lines_of(self, block: Block) -> Lines:
        """Return the lines of a block that are operations; what a line is, earlier ones may decide."""
        lines = block.lines
        earlier = self._in_order(lines)
        self._pairs.join(lines)
        is_operation = lines["fate"] == Fate.OPERATION
        operations: Lines = lines[is_operation]
        self._name(operations, block.comms)
        lines["fate"][is_operation] = operations["fate"]
        self._note(block, earlier)
        codes = lines["event"].astype(np.intp) * len(Fate) + lines["fate"]
        self._counts += np.bincount(codes, minlength=self._counts.size).reshape(self._counts.shape)
        self._noted += np.bincount(lines["event"][lines["time_ns"] > 0], minlength=len(self._noted))
        self._lost += block.lost
        kept: Lines = operations[operations["fate"] == Fate.OPERATION]
        return kept

    def _in_order(self, lines: Lines) -> Times:
        """Mark the lines whose time is before that of an earlier operation, which is returned for each."""
        times, is_read = lines["time_ns"], np.isin(lines["fate"], (Fate.OPERATION, Fate.KERNEL_ADDRESS))
        reached = np.concatenate([np.array([self._last_ns], np.uint64), np.where(is_read, times, 0)])
        reached = np.maximum.accumulate(reached)
        self._last_ns = int(reached[-1])
        lines["fate"][is_read & (times < reached[:-1])] = Fate.TIME_BACKWARDS
        return reached[:-1]

    def _name(self, operations: Lines, comms: list[str]) -> None:
        """Find the indexes of command names; new names get the next ones, in the order of their first operation."""
        tasks, first = np.unique(operations["task"], return_index=True)
        indexes = np.full(len(comms), COMM_LIMIT, np.uint16)
        for task in tasks[np.argsort(first)].tolist():
            if len(self._comms) < COMM_LIMIT:
                self._comms.setdefault(comms[task], len(self._comms))
            indexes[task] = self._comms.get(comms[task], COMM_LIMIT)
        operations["comm"] = indexes[operations["task"]]
        operations["fate"][operations["comm"] == COMM_LIMIT] = Fate.MANY_COMMS

    def _note(self, block: Block, earlier: Times) -> None:
        """Keep the first unreadable lines as text."""
        room = SHOWN_DEFECTS - len(self._defects)
        for row in np.flatnonzero(block.lines["fate"] >= FIRST_DEFECT)[:room].tolist():
            text = block.text[row].strip(" \r")
            why = reason(block.lines[row], text=text, previous_ns=int(earlier[row]))
            cut = text if len(text) <= _SHOWN_BYTES else f"{text[:_SHOWN_BYTES]}..."
            self._defects.append(f"{self._source.name}:{self._lines + row + 1}: {why}: {cut}")

    def _packed(self, lines: Lines) -> Operations:
        """Make operations of the lines that are left."""
        operations = np.empty(len(lines), OPERATION)
        self._operations += len(lines)
        if len(lines):
            self._base_ns = int(lines["time_ns"][0]) if self._base_ns is None else self._base_ns
            for field in OPERATION.names or ():
                operations[field] = lines[field]
            operations["time_ns"] -= np.uint64(self._base_ns)
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
