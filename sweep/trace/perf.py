"""Reads `perf script` text as layer-1 operations, in one pass and in memory that does not depend on its length."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from engine.operations import OPERATION, Operations
from sweep.trace import perf_events as perf
from sweep.trace.errors import TraceError
from sweep.trace.perf_kernel import (
    BASE_TIME,
    COMM_COUNT,
    DEFECT,
    DEFECT_COUNT,
    LAST_TIME,
    LINE,
    LOST_COUNT,
    ROW_COUNT,
    new_tables,
    parse_block,
)
from sweep.trace.scan import Text
from sweep.trace.source import TextSource

SHOWN_DEFECTS: Final = 20
"""Lines that can't be read are all counted; so many are shown."""
SCRIPT_FIELDS: Final = "comm,pid,tid,cpu,time,event,trace"
"""What `perf script -F` must be told to print."""
_ROWS: Final = 1 << 15
_SHOWN_BYTES: Final = 160
_NS_PER_S: Final = 1e9
_EVENT: Final = re.compile(r"\[\d+\]\s+\d+\.\d+:\s*([\w:-]*\w)")


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
        }


class PerfText:
    """One pass over a recording: `chunks` first, then `comms` and `report`."""

    def __init__(self, source: TextSource) -> None:
        """Read from an open source."""
        self._source = source
        self._tables = new_tables()
        self._operations = 0
        self._unreadable = 0
        self._defects: list[str] = []
        self._comms: tuple[str, ...] = ()

    @property
    def comms(self) -> tuple[str, ...]:
        """Return the command names that were seen so far, in the order of their first operation."""
        known = len(self._comms)
        for comm in range(known, int(self._tables.state[COMM_COUNT])):
            name = bytes(self._tables.comm_bytes[comm, : self._tables.comm_length[comm]])
            self._comms += (name.decode(errors="backslashreplace"),)
        return self._comms

    def chunks(self) -> Iterator[Operations]:
        """Yield the operations in order; a chunk is valid until the next one is asked for.

        Raises:
            TraceError: the source is truncated or damaged, or holds no operation at all.
        """
        rows = np.zeros(_ROWS, OPERATION)
        defects = np.zeros(SHOWN_DEFECTS, DEFECT)
        state = self._tables.state
        for block in self._source.blocks():
            at = 0
            while at < len(block):
                rest = block[at:]
                at += parse_block(rest, len(rest), self._tables, rows, defects)
                self._note(rest, defects[: state[DEFECT_COUNT]])
                if state[ROW_COUNT]:
                    self._operations += int(state[ROW_COUNT])
                    yield rows[: state[ROW_COUNT]]
        if not self._operations:
            raise TraceError(self._nothing_found())

    def report(self) -> ImportReport:
        """Return what became of the lines; final after the last chunk."""
        state = self._tables.state
        counts = dict(zip(perf.COUNT_NAMES, self._tables.counts.tolist(), strict=True))
        left_out = {name: count for name, count in list(counts.items())[perf.LOST :] if count}
        waiting = int(np.count_nonzero(self._tables.waiting["comm"]))
        if waiting:
            left_out[perf.COUNT_NAMES[perf.NO_RETURN]] = int(self._tables.counts[perf.NO_RETURN]) + waiting
        lines_by_kind = {name: count for name, count in list(counts.items())[: perf.NO_PROCESS] if count}
        return ImportReport(
            source=self._source.name,
            digest=self._source.digest,
            lines=int(state[LINE]),
            operations=self._operations,
            commands=len(self.comms),
            span_ns=int(state[LAST_TIME] - state[BASE_TIME]),
            start_s=int(state[BASE_TIME]) / _NS_PER_S,
            lines_by_kind=lines_by_kind,
            left_out=left_out,
            unreadable=self._unreadable,
            defects=tuple(self._defects),
            lost=int(state[LOST_COUNT]),
        )

    def _note(self, block: Text, defects: Any) -> None:
        """Count unreadable lines and keep the first ones as text."""
        self._unreadable += len(defects)
        for defect in defects[: SHOWN_DEFECTS - len(self._defects)]:
            text = bytes(block[defect["start"] : defect["end"]]).decode(errors="backslashreplace")
            why = _reason(int(defect["code"]), text, int(defect["time"]))
            shown = text if len(text) <= _SHOWN_BYTES else f"{text[:_SHOWN_BYTES]}..."
            self._defects.append(f"{self._source.name}:{defect['line']}: {why}: {shown}")

    def _nothing_found(self) -> str:
        """Say that a file holds no operation, and what it should hold."""
        lines = int(self._tables.state[LINE])
        wanted = f"Expected the text of: perf script -F {SCRIPT_FIELDS} (see: sweep trace record --help)"
        if not lines:
            return f"{self._source.name}: the file is empty\n{wanted}"
        first = "".join(f"\n{text}" for text in self._defects[:1])
        found = f"{self._source.name}: none of its {lines:,} lines is an operation, {self._unreadable:,} can't be read"
        return f"{found}{first}\n{wanted}"


def _reason(code: int, text: str, previous_ns: int) -> str:
    """Say why a line can't be read."""
    match = _EVENT.search(text)
    event = match.group(1) if match else ""
    fields = perf.FIELDS.get(perf.EVENT_NAMES.index(event), "") if event in perf.EVENT_NAMES else ""
    return perf.DEFECTS[code].format(event=event, fields=fields, previous=f"{previous_ns / _NS_PER_S:.6f}")
