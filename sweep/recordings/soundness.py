"""Tells whether a recording is sound enough to replay: what is missing or wrong in it, what follows, and what to do.

The rules look for what no sound recording has. They are written so that a recording of a command, from start to end or
cut anywhere, and one of a running system pass.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from engine.operations import Operations
from engine.vocabulary import Operation
from sweep.recordings.flags import CLONE_THREAD

_FIRST, _BORN, _ENDED, _LAST = range(4)
"""What a thread can do, in the order in which it does it where one operation is several."""
_NAME_BITS: Final = 16
"""Width of `comm` in an operation."""
_IDLE: Final = 0
"""Thread id of the idle task, which nothing starts or ends."""


@dataclass(slots=True)
class Lives:
    """What a recording says about its threads, as far as it was read."""

    threads: set[int] = field(default_factory=set)
    """All that were seen or cloned."""
    alive: set[int] = field(default_factory=set)
    strangers: dict[int, int] = field(default_factory=dict)
    """Threads that no CLONE announced: time of their first operation, ns."""
    unheard: set[int] = field(default_factory=set)
    """Cloned threads that did nothing yet."""
    clones: int = 0
    exits: int = 0
    execs: int = 0
    maps: int = 0
    unmaps: int = 0
    memory_calls: int = 0
    reborn: int = 0
    """Clones of a thread whose last life had no end."""
    orphans: set[int] = field(default_factory=set)
    """Cloned threads that are alive."""
    processes: set[int] = field(default_factory=set)
    """Threads that were cloned as processes of their own."""
    names: dict[int, int] = field(default_factory=dict)
    """First command name of each of them, as an index."""
    renamed: set[int] = field(default_factory=set)
    """Those that had another command name later."""
    begins_with_exec: bool | None = None
    """Whether the first operation is an EXEC, as in the recording of a command; None before there is one."""

    def add(self, chunk: Operations) -> None:
        """Follow the operations of a chunk."""
        if not len(chunk):
            return
        kinds = np.bincount(chunk["kind"], minlength=len(Operation)).tolist()
        self.execs += kinds[Operation.EXEC]
        self.maps += kinds[Operation.MAP]
        self.unmaps += kinds[Operation.UNMAP]
        self.memory_calls += sum(kinds[Operation.MAP : Operation.ADVISE + 1])
        if self.begins_with_exec is None:
            self.begins_with_exec = bool(chunk["kind"][0] == Operation.EXEC)
        for place, what, thread in _turns(chunk):
            self._turn(what, thread, int(chunk["time_ns"][place]))
        self._note_names(chunk)

    def _turn(self, what: int, thread: int, time_ns: int) -> None:
        if thread == _IDLE:
            return
        self.threads.add(thread)
        if what == _BORN:
            self.clones += 1
            self.reborn += thread in self.alive
            self.alive.add(thread)
            self.orphans.add(thread)
            self.unheard.add(thread)
        elif what == _ENDED:
            self.exits += 1
            self.alive.discard(thread)
            self.orphans.discard(thread)
            self.unheard.discard(thread)
        elif what == _LAST:
            self.unheard.discard(thread)
        elif thread not in self.alive:
            self.strangers.setdefault(thread, time_ns)
            self.alive.add(thread)

    def _note_names(self, chunk: Operations) -> None:
        is_process = (chunk["kind"] == Operation.CLONE) & (chunk["flags"] & CLONE_THREAD == 0)
        self.processes.update(chunk["peer"][is_process].tolist())
        keys = chunk["pid"].astype(np.uint64) << np.uint64(_NAME_BITS) | chunk["comm"]
        _, first = np.unique(keys, return_index=True)
        for thread, name in chunk[["pid", "comm"]][np.sort(first)].tolist():
            if thread in self.processes and self.names.setdefault(thread, name) != name:
                self.renamed.add(thread)


def _turns(chunk: Operations) -> list[tuple[int, int, int]]:
    """Return place, kind and thread of what matters to lives, in order."""
    turns: list[tuple[int, int, int]] = []
    for what, kind, column in ((_BORN, Operation.CLONE, "peer"), (_ENDED, Operation.EXIT, "pid")):
        places = np.flatnonzero(chunk["kind"] == kind)
        turns += [
            (place, what, thread) for place, thread in zip(places.tolist(), chunk[column][places].tolist(), strict=True)
        ]
    threads, first = np.unique(chunk["pid"], return_index=True)
    turns += [(place, _FIRST, thread) for place, thread in zip(first.tolist(), threads.tolist(), strict=True)]
    threads, last = np.unique(chunk["pid"][::-1], return_index=True)
    places = len(chunk) - 1 - last
    turns += [(place, _LAST, thread) for place, thread in zip(places.tolist(), threads.tolist(), strict=True)]
    return sorted(turns)


UNREADABLE_SHARE_MAX: Final = 0.01
"""Lines that may be unreadable: a few odd lines change no count by more; the figures are compared to within 1 %."""
STRANGER_SHARE_MAX: Final = 0.1
"""Threads that may appear without a CLONE, of all: each is an address space whose parent's copy on write is missing."""
SETTLING_NS: Final = 1_000_000_000
"""In the recording of a running system its threads appear in the first second (assumption); later ones are counted."""
UNHEARD_SHARE_MAX: Final = 0.1
"""Children that may do nothing at all, of all: a thread that starts is switched in, so a recording shows it."""
ENDLESS_SHARE_MAX: Final = 0.25
ENDLESS_MIN: Final = 8
"""Children that may be alive at the end, of all, and so many in any case: what a cut recording of a build, or a server
with its workers, has (the head of the build's recording: 4 of 53)."""
RENAMED_SHARE_MAX: Final = 0.1
"""Cloned processes that may change their command name, of all, in a recording without any exec: few name themselves."""
MAPS_WITHOUT_UNMAP_MAX: Final = 20
"""Maps that may come without a single unmap: the loader of each dynamic program makes 8 and one unmap."""
_UNFREED: Final = "their pages and page tables are never freed, so reuse of page tables is understated"
_RECORD: Final = "record again with the command that `sweep trace record -- CMD` prints"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What an import knows of a recording beside its threads."""

    lines: int
    unreadable: int
    falling: int
    """Unreadable lines whose time is before that of an earlier operation."""
    lost: int
    forks_noted: int
    exits_noted: int
    """PERF_RECORD_FORK and PERF_RECORD_EXIT lines of the recorded time; perf writes them beside the tracepoints."""


def unsound_reasons(reading: Reading, lives: Lives) -> tuple[str, ...]:
    """Return a sentence for each thing that makes answers from a recording wrong; nothing if it is sound."""
    return (*_of_reading(reading), *_of_kinds(lives), *_of_lives(reading, lives))


def unsound_reasons_of_source(source: dict[str, Any]) -> tuple[str, ...]:
    """Return why a trace is unsound, from what it keeps about its source."""
    reasons = source.get("unsound", [])
    return tuple(str(reason) for reason in reasons) if isinstance(reasons, list) else ()


def _of_reading(reading: Reading) -> Iterator[str]:
    if reading.lost:
        yield (
            f"perf lost {reading.lost:,} events: clones, exits and unmaps may be among them, so processes may have no "
            "parent or never end; record again with a larger buffer (perf record -m)"
        )
    if reading.falling > UNREADABLE_SHARE_MAX * reading.lines:
        yield (
            f"times fall back in {_percent(reading.falling, reading.lines)} of the lines: perf script --deltatime, or "
            "two recordings in one file? Those lines are not in the trace; print the text without --deltatime, or "
            "import each recording by itself"
        )
    rest = reading.unreadable - reading.falling
    if rest > UNREADABLE_SHARE_MAX * reading.lines:
        yield (
            f"{_percent(rest, reading.lines)} of the lines can't be read, more than {UNREADABLE_SHARE_MAX:.0%}: "
            f"what they did is not in the trace; {_RECORD}"
        )


def _of_kinds(lives: Lives) -> Iterator[str]:
    """Tell which kinds are absent though something shows that there was such an event."""
    has_many = len(lives.threads) > 1
    is_renamed = len(lives.renamed) > RENAMED_SHARE_MAX * len(lives.names)
    if not lives.execs and has_many and (is_renamed or not lives.clones):
        yield (
            "no sched_process_exec at all: each program keeps the address space of the one that started it, so page "
            f"tables are neither freed nor built anew; {_RECORD}"
        )
    if not lives.exits and has_many:
        yield (
            "no sched_process_exit at all: address spaces are never freed, so reuse of page tables is understated; "
            f"{_RECORD}"
        )
    if not lives.clones and has_many:
        yield (
            f"no task_newtask at all, but {len(lives.threads):,} threads: none is known to be a child of another, so "
            f"fork, copy on write and memory shared by threads are missing; {_RECORD}"
        )
    if not lives.memory_calls and has_many:
        yield (
            "no mmap, munmap, mprotect, brk, mremap or madvise at all: areas are guessed from faults and nothing is "
            f"unmapped before a process ends; {_RECORD}"
        )
    elif not lives.unmaps and lives.maps > MAPS_WITHOUT_UNMAP_MAX:
        yield (
            f"no sys_enter_munmap at all, but {lives.maps:,} maps: what was unmapped stays, so zaps and reuse of page "
            f"tables are understated; {_RECORD}"
        )


def _of_lives(reading: Reading, lives: Lives) -> Iterator[str]:
    """Tell which threads lack their begin or end though such events are recorded."""
    strangers = _strangers(lives)
    if lives.clones and strangers > STRANGER_SHARE_MAX * len(lives.threads):
        yield (
            f"{strangers:,} of {len(lives.threads):,} threads appear without a CLONE, though clones are recorded: they "
            "start with empty address spaces instead of copies of their parents'; events that were lost, or ids of "
            "another pid namespace? Record again outside the container, with a larger buffer"
        )
    if len(lives.unheard) > max(1, UNHEARD_SHARE_MAX * lives.clones):
        yield (
            f"{len(lives.unheard):,} of {lives.clones:,} children that were cloned never do anything: copies of their "
            "parents stay for ever; ids of another pid namespace, or perf without the children? Record again outside "
            "the container, without -i"
        )
    if lives.clones and _lack(reading.forks_noted, lives.clones):
        yield (
            f"{reading.forks_noted - lives.clones:,} of {reading.forks_noted:,} PERF_RECORD_FORK lines have no "
            f"task_newtask: those children start with empty address spaces; {_RECORD}"
        )
    if lives.exits and _lack(reading.exits_noted, lives.exits):
        yield (
            f"{reading.exits_noted - lives.exits:,} of {reading.exits_noted:,} PERF_RECORD_EXIT lines have no "
            f"sched_process_exit: {_UNFREED}; {_RECORD}"
        )
    if lives.exits and lives.reborn:
        yield (
            f"{lives.reborn:,} of {lives.clones:,} clones start a thread under the id of one that has not ended: its "
            f"exit is missing; {_UNFREED}; {_RECORD}"
        )
    endless = len(lives.orphans - lives.unheard)
    if lives.exits and endless >= ENDLESS_MIN and endless > ENDLESS_SHARE_MAX * lives.clones:
        yield (
            f"{endless:,} of {lives.clones:,} children never end: the recording stopped before them or lost their "
            f"exits; {_UNFREED}; record until the work is done"
        )


def _lack(noted: int, recorded: int) -> bool:
    return noted - recorded > UNREADABLE_SHARE_MAX * noted


def _strangers(lives: Lives) -> int:
    """Count the threads that appear without a CLONE where one must be: of a command's recording all but the first."""
    if lives.begins_with_exec:
        return len(lives.strangers) - 1
    return sum(time_ns > SETTLING_NS for time_ns in lives.strangers.values())


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if part >= whole / 10 else f"{part / whole:.1%}"
