"""Cut a recording into the lives of its processes: steps with native run time, and what each blocking point waited for.

A blocking point is a voluntary switch off the CPU. It waits for what ended while the process was off: a child, or the
writer of a pipe that it reads. What remains is a sleep of the recorded length. An order that the recording kept is an
order that can be kept again: waits always point at something that had happened before, so that they never deadlock.
"""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.vocabulary import Operation
from engine.workloads.templates import LINE_REGISTER, STEP, Step

CLONE_VFORK: Final = 0x4000
CLONE_THREAD: Final = 0x10000
_NEVER: Final = 1 << 62

Row = tuple[int, int, int, int, int]
"""address, length, flags, run_ns, kind: a STEP before it is packed."""


@dataclass(slots=True)
class Life:
    """One recorded process."""

    pid: int
    parent: "Life | None" = None
    clone_time: int = 0
    end: int = _NEVER
    """Time of EXIT, ns."""
    comms: set[int] = field(default_factory=set)
    children: list["Life"] = field(default_factory=list)
    register: int = 0
    is_line: bool = False
    """A recipe line that make starts without waiting for it on the spot."""
    rows: list[int] = field(default_factory=list)
    """Indexes of the process's operations in the recording."""

    def descends(self) -> list["Life"]:
        """Return this process and all below it, parents before children."""
        found = [self]
        for child in self.children:
            found.extend(child.descends())
        return found


def read_lives(operations: npt.NDArray[np.void]) -> list[Life]:
    """Group the operations of a recording by process, in order of creation.

    Raises:
        ValueError: a process has no recorded end or is no process of this recording, or one is a thread.
    """
    lives: dict[int, Life] = {}
    order: list[Life] = []
    columns = [operations[name].tolist() for name in ("time_ns", "pid", "peer", "flags", "kind", "comm")]
    for i, (time, pid, peer, flags, kind, comm) in enumerate(zip(*columns, strict=True)):
        life = lives.get(pid)
        if life is None:
            life = lives[pid] = Life(pid, clone_time=time)
            order.append(life)
        life.rows.append(i)
        life.comms.add(comm)
        if kind == Operation.CLONE:
            if flags & CLONE_THREAD:
                message = f"process {pid} starts thread {peer}; templates are made of processes only. Record a build."
                raise ValueError(message)
            child = lives[peer] = Life(peer, parent=life, clone_time=time)
            order.append(child)
            life.children.append(child)
        elif kind == Operation.EXIT:
            life.end = time
    unended = [life.pid for life in order if life.end == _NEVER]
    if unended:
        message = f"processes {unended[:5]} never exit; record until the build has ended (no lost events)."
        raise ValueError(message)
    _assign_registers(order)
    return order


def _assign_registers(lives: list[Life]) -> None:
    for life in lives:
        free: list[tuple[int, int]] = []
        used = 0
        for child in life.children:
            reusable = next((slot for slot in free if slot[0] < child.clone_time), None)
            if reusable is None:
                child.register, used = used, used + 1
            else:
                free.remove(reusable)
                child.register = reusable[1]
            free.append((child.end, child.register))
        if used >= LINE_REGISTER:
            message = f"process {life.pid} has {used} children at once; a template holds at most {LINE_REGISTER - 1}."
            raise ValueError(message)


def steps_of(life: Life, operations: npt.NDArray[np.void], template_of: dict[int, int]) -> list[Row]:
    """Turn one recorded life into steps; `template_of` gives the template of each child's pid."""
    return _Cutter(life, operations, template_of).cut()


def pack(rows: list[Row]) -> npt.NDArray[np.void]:
    """Pack rows into an array of dtype STEP."""
    return np.array(rows, STEP)


@dataclass(slots=True)
class _Cutter:
    """The state while one life is cut into steps."""

    life: Life
    operations: npt.NDArray[np.void]
    template_of: dict[int, int]
    steps: list[Row] = field(default_factory=list)
    run_ns: int = 0
    running_since: int | None = None
    pending: list[Life] = field(default_factory=list)
    after_vfork: bool = False

    def cut(self) -> list[Row]:
        rows = self.operations[self.life.rows].tolist()
        for i, row in enumerate(rows):
            time, kind, flags = int(row[0]), int(row[6]), int(row[5])
            if self.running_since is None:
                self.running_since = time
            if kind == Operation.SWITCH_IN:
                self.running_since = time
            elif kind == Operation.SWITCH_OUT:
                self._off_cpu(time, preempted=bool(flags & 1), back=int(rows[i + 1][0]) if i + 1 < len(rows) else None)
            else:
                self._operation(row)
        self._emit(0, 0, 0, Step.END)
        return self.steps

    def _operation(self, row: Any) -> None:
        time, address, length, _pid, peer, flags, kind = (int(x) for x in row[:7])
        self._account(time)
        if kind != Operation.EXIT or self.pending:
            self._wait_for_ended(time)
        self.after_vfork = False
        if kind == Operation.CLONE:
            child = next(c for c in self.life.children if c.pid == peer)
            register = LINE_REGISTER if child.is_line else child.register
            self._emit(register, self.template_of[peer], flags, kind)
            self.after_vfork = bool(flags & CLONE_VFORK)
            if not child.is_line:
                self.pending.append(child)
        elif kind == Operation.EXEC:
            self._emit(0, 0, int(row[8]), kind)
        else:
            self._emit(address, length, flags, kind)

    def _off_cpu(self, time: int, *, preempted: bool, back: int | None) -> None:
        self._account(time)
        self.running_since = None
        if preempted or back is None or time >= self.life.end:
            return
        # The parent of a vfork is suspended by the CLONE itself.
        if self.after_vfork or self._wait_for_ended(back):
            return
        writer = self._pipe_writer(time)
        if writer is not None:
            self._emit(writer.register, 0, 0, Step.WAIT_SIBLING)
        elif not self.pending and not any(child.is_line for child in self.life.children):
            self._emit(0, back - time, 0, Step.SLEEP)

    def _pipe_writer(self, time: int) -> Life | None:
        parent = self.life.parent
        if parent is None or self.life.is_line:
            return None
        older = [s for s in parent.children if s.clone_time < self.life.clone_time and not s.is_line]
        alive = [s for s in older if time < s.end < self.life.end]
        return alive[-1] if alive else None

    def _wait_for_ended(self, time: int) -> bool:
        ended = [child for child in self.pending if child.end <= time]
        for child in ended:
            self.pending.remove(child)
            self._emit(child.register, 0, 0, Step.WAIT_CHILD)
        return bool(ended)

    def _account(self, time: int) -> None:
        if self.running_since is not None:
            self.run_ns += time - self.running_since
            self.running_since = time

    def _emit(self, address: int, length: int, flags: int, kind: int) -> None:
        self.steps.append((address, length, flags, self.run_ns, int(kind)))
        self.run_ns = 0
