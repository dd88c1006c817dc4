"""Counts what a layer-1 trace holds, per command name and in total, chunk by chunk."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.operations import OPERATION, Operations
from engine.vocabulary import Operation
from sweep.recordings.flags import (
    CLONE_THREAD,
    CLONE_VFORK,
    CLONE_VM,
    FAULT_FETCH,
    FAULT_PRESENT,
    FAULT_USER,
    FAULT_WRITE,
)
from sweep.terminal import printable

_SIMPLE: Final = {
    "execs": Operation.EXEC,
    "exits": Operation.EXIT,
    "switches_in": Operation.SWITCH_IN,
    "switches_out": Operation.SWITCH_OUT,
    "preemptions": Operation.SWITCH_OUT,
    "maps": Operation.MAP,
    "unmaps": Operation.UNMAP,
    "protects": Operation.PROTECT,
    "brks": Operation.BRK,
    "remaps": Operation.REMAP,
    "advises": Operation.ADVISE,
}
"""Columns that count a kind; of the switches out, `preemptions` has those with a flag."""
_COLUMNS: Final = (
    *("user_faults", "kernel_faults", "write_faults", "protection_faults", "fetch_faults"),
    *("forks", "vforks", "threads", "shared_memory_clones"),
    *_SIMPLE,
)
_SHOWN: Final = ("user_faults", "kernel_faults", "write_faults", "forks", "vforks", "threads", "execs", "switches_in")
"""Columns of the table per command name."""
_RUN_KINDS: Final = (int(Operation.SWITCH_IN), int(Operation.SWITCH_OUT), int(Operation.EXIT))


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandCounts:
    """What the threads of one command name did; `tasks` counts thread ids, a `sh` that becomes `gcc` is in both."""

    command: str
    tasks: int
    first_s: float
    last_s: float
    on_cpu_s: float
    """Time from a switch in to the switch out or the exit, by the name at its end."""
    counts: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSummary:
    """A whole trace."""

    operations: int
    processes: int
    """Thread groups: clones that are no threads, and those that were there from the start."""
    span_s: float
    vcpus: int
    totals: dict[str, int]
    on_cpu_s: float
    commands: tuple[CommandCounts, ...]
    """Most user faults first."""

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        rest = asdict(self)
        rest["commands"] = [
            {key: value for key, value in asdict(row).items() if key != "counts"} | row.counts for row in self.commands
        ]
        return rest


class Summary:
    """Adds up chunks of a trace; memory grows with the number of processes, not with that of operations."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._counts: dict[str, npt.NDArray[np.int64]] = {name: np.zeros(1, np.int64) for name in _COLUMNS}
        self._tasks: set[int] = set()
        self._children: set[int] = set()
        self._first: dict[int, int] = {}
        self._last: dict[int, int] = {}
        self._on_cpu: Counter[int] = Counter()
        self._open_switches: Operations = np.empty(0, OPERATION)
        self._operations = 0
        self._vcpu_max = 0

    def add(self, chunk: Operations) -> None:
        """Count one chunk."""
        if not len(chunk):
            return
        self._operations += len(chunk)
        self._vcpu_max = max(self._vcpu_max, int(chunk["vcpu"].max()))
        for name, chosen in _masks(chunk).items():
            self._count(name, chunk["comm"][chosen])
        keys = (chunk["comm"].astype(np.uint64) << np.uint64(32)) | chunk["pid"]
        self._tasks.update(np.unique(keys).tolist())
        self._children.update(chunk["peer"][chunk["kind"] == Operation.CLONE].tolist())
        comms, first = np.unique(chunk["comm"], return_index=True)
        for comm, time in zip(comms.tolist(), chunk["time_ns"][first].tolist(), strict=True):
            self._first.setdefault(comm, time)
        comms, last = np.unique(chunk["comm"][::-1], return_index=True)
        self._last.update(zip(comms.tolist(), chunk["time_ns"][::-1][last].tolist(), strict=True))
        self._add_switches(chunk)

    def finish(self, comms: tuple[str, ...]) -> TraceSummary:
        """Return the sums."""
        tasks = Counter(key >> 32 for key in self._tasks)
        rows = [self._command(comm, name, tasks[comm]) for comm, name in enumerate(comms) if comm in self._first]
        totals = {name: int(self._counts[name].sum()) for name in _COLUMNS}
        seen = {key & 0xFFFF_FFFF for key in self._tasks} - {0}
        clones = totals["forks"] + totals["vforks"] + totals["shared_memory_clones"]
        return TraceSummary(
            operations=self._operations,
            processes=clones + len(seen - self._children),
            span_s=_seconds(max(self._last.values(), default=0)),
            vcpus=self._vcpu_max + 1 if self._operations else 0,
            totals=totals,
            on_cpu_s=_seconds(sum(self._on_cpu.values())),
            commands=tuple(sorted(rows, key=lambda row: (-row.counts["user_faults"], row.command))),
        )

    def _command(self, comm: int, name: str, tasks: int) -> CommandCounts:
        """Return the row of one command name."""
        counts = {column: int(sums[comm]) if comm < len(sums) else 0 for column, sums in self._counts.items()}
        return CommandCounts(
            command=name,
            tasks=tasks,
            first_s=_seconds(self._first[comm]),
            last_s=_seconds(self._last[comm]),
            on_cpu_s=_seconds(self._on_cpu[comm]),
            counts=counts,
        )

    def _count(self, name: str, comms: npt.NDArray[np.uint16]) -> None:
        """Add operations, given by the index of their command name, to a column."""
        sums = self._counts[name]
        found = np.bincount(comms, minlength=len(sums))
        found[: len(sums)] += sums
        self._counts[name] = found

    def _add_switches(self, chunk: Operations) -> None:
        """Add the time from a switch in to what follows on that CPU, if that is the same thread's switch out or exit.

        perf detaches from a thread that exits, so its last switch out is not in a recording.
        """
        is_switch = np.isin(chunk["kind"], _RUN_KINDS)
        switches = np.concatenate([self._open_switches, chunk[is_switch]])
        switches = switches[np.argsort(switches["vcpu"], kind="stable")]
        before, after = switches[:-1], switches[1:]
        is_run = (before["vcpu"] == after["vcpu"]) & (before["pid"] == after["pid"])
        is_run &= (before["kind"] == Operation.SWITCH_IN) & (after["kind"] != Operation.SWITCH_IN)
        spent = after["time_ns"][is_run] - before["time_ns"][is_run]
        for comm in np.unique(after["comm"][is_run]).tolist():
            self._on_cpu[comm] += int(spent[after["comm"][is_run] == comm].sum())
        is_last = np.append(before["vcpu"] != after["vcpu"], True)[: len(switches)]
        self._open_switches = switches[is_last]


def _masks(chunk: Operations) -> dict[str, npt.NDArray[np.bool_]]:
    """Return which operations of a chunk count for each column."""
    kind, flags = chunk["kind"], chunk["flags"]
    fault = kind == Operation.FAULT
    clone = kind == Operation.CLONE
    thread = clone & (flags & CLONE_THREAD != 0)
    vfork = clone & ~thread & (flags & CLONE_VFORK != 0)
    shared = clone & ~thread & ~vfork & (flags & CLONE_VM != 0)
    masks = {name: kind == value for name, value in _SIMPLE.items()}
    masks["preemptions"] &= flags != 0
    return masks | {
        "user_faults": fault & (flags & FAULT_USER != 0),
        "kernel_faults": fault & (flags & FAULT_USER == 0),
        "write_faults": fault & (flags & FAULT_WRITE != 0),
        "protection_faults": fault & (flags & FAULT_PRESENT != 0),
        "fetch_faults": fault & (flags & FAULT_FETCH != 0),
        "forks": clone & ~thread & ~vfork & ~shared,
        "vforks": vfork,
        "threads": thread,
        "shared_memory_clones": shared,
    }


def _seconds(nanoseconds: int) -> float:
    """Convert a time to seconds."""
    return nanoseconds / 1e9


def summary_text(summary: TraceSummary, source: dict[str, Any]) -> str:
    """Return the totals and one row per command name as text."""
    from results.render import Sheet, show_sheets

    totals = (
        ("operations", f"{summary.operations:,}"),
        ("span", f"{summary.span_s:,.3f} s on {summary.vcpus} CPUs, {summary.on_cpu_s:,.3f} s of them busy"),
        ("processes", f"{summary.processes:,}"),
        *((name.replace("_", " "), f"{count:,}") for name, count in summary.totals.items()),
    )
    header = ("command", "tasks", *(name.replace("_", " ") for name in _SHOWN), "first s", "last s", "on CPU s")
    rows = tuple(
        (
            printable(row.command),
            f"{row.tasks:,}",
            *(f"{row.counts[name]:,}" for name in _SHOWN),
            *(f"{value:,.3f}" for value in (row.first_s, row.last_s, row.on_cpu_s)),
        )
        for row in summary.commands
    )
    title = printable(str(source.get("name", "")))
    return show_sheets(
        [
            Sheet(title=title, header=("whole recording", ""), rows=totals, left=2),
            Sheet(title="per command name", header=header, rows=rows),
        ],
        "text",
    )
