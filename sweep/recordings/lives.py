"""Follows which threads of a recording begin and end, chunk by chunk; memory grows with the number of threads."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from engine.operations import Operations
from engine.vocabulary import Operation

_FIRST, _BORN, _ENDED, _LAST = range(4)
"""What a thread can do, in the order in which it does it where one operation is several."""
_CLONE_THREAD: Final = 0x1_0000
"""Flag of clone(2), Linux 6.1 include/uapi/linux/sched.h."""
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
        is_process = (chunk["kind"] == Operation.CLONE) & (chunk["flags"] & _CLONE_THREAD == 0)
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
