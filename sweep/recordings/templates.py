"""Derive process templates from the recording of a kernel build: `sweep trace templates RECORDING -o FILE`.

Every process life of the recording becomes one template. One make is special: the one that runs the compile units. Its
life is cut into a prologue, one segment per recipe line (what make does before it starts that line) and an epilogue, so
that the generator can run any units in any number at once. Nothing is averaged and nothing is invented.

A blocking point is a voluntary switch off the CPU. It waits for what ended while the process was off: a child, or the
writer of a pipe that it reads. What remains is a sleep of the recorded length. An order that the recording kept is an
order that can be kept again: waits always point at something that had happened before, so that they never deadlock.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.vocabulary import Operation
from engine.workloads.templates import LINE_REGISTER, STEP, Step, Templates, write_templates
from sweep.recordings.flags import CLONE_THREAD, CLONE_VFORK

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


COMPILER: Final = "cc1"
UNIT_MARK: Final = "fixdep"
"""Kbuild runs fixdep after each object that belongs to the tree (scripts/Kbuild.include, cmd_and_fixdep)."""
MAKE: Final = "make"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A layer-1 recording: operations in time order and the names that `comm` indexes."""

    operations: npt.NDArray[np.void]
    comms: tuple[str, ...]


def derive_templates(recording: Recording, *, provenance: dict[str, Any]) -> Templates:
    """Cut a recorded build into templates.

    Raises:
        ValueError: the recording holds no make that runs compile units, or is incomplete.
    """
    lives = read_lives(recording.operations)
    names = recording.comms
    build = _build_make(lives, names)
    units = _units(build, names)
    template_of = {life.pid: i for i, life in enumerate(lives)}
    cut = [steps_of(life, recording.operations, template_of) for life in lives]
    make_at = template_of[build.pid]
    cut[make_at], segments = _split_make(cut[make_at], units, template_of)
    lengths = [len(rows) for rows in cut] + [len(rows) for rows in segments]
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    lines = [len(unit) for unit in units]
    return Templates(
        steps=pack([row for rows in [*cut, *segments] for row in rows]),
        template_start=starts[: len(cut) + 1],
        segment_start=starts[len(cut) :],
        unit_segment=np.concatenate([[0], np.cumsum(lines)]).astype(np.int64),
        root=template_of[_root_of(build).pid],
        build_make=make_at,
        comms=names,
        provenance=provenance | _facts(recording, lives, lines),
    )


def derive_file(recording: Recording, source: Path, output: Path) -> Templates:
    """Derive templates from an imported recording and write them with their provenance."""
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    provenance = {
        "recording": source.name,
        "recording_sha256": digest,
        "command": f"sweep trace templates {source.name} -o {output.name}",
    }
    templates = derive_templates(recording, provenance=provenance)
    write_templates(output, templates)
    return templates


def _holds(life: Life, names: tuple[str, ...], *wanted: str) -> bool:
    seen = {names[comm] for member in life.descends() for comm in member.comms}
    return all(name in seen for name in wanted)


def _build_make(lives: list[Life], names: tuple[str, ...]) -> Life:
    def unit_count(life: Life) -> int:
        return sum(_holds(child, names, COMPILER, UNIT_MARK) for child in life.children)

    makes = [life for life in lives if any(names[comm] == MAKE for comm in life.comms) and life.children]
    best = max(makes, key=lambda life: (unit_count(life), -life.clone_time), default=None)
    if best is None or unit_count(best) < 1:
        message = (
            f"no {MAKE} in the recording starts a compile unit (a child that runs {COMPILER} and {UNIT_MARK}); "
            "templates need the recording of a kernel build. See: sweep trace record --help"
        )
        raise ValueError(message)
    return best


def _root_of(life: Life) -> Life:
    while life.parent is not None:
        life = life.parent
    return life


def _units(make: Life, names: tuple[str, ...]) -> list[list[Life]]:
    """Give each recipe line of a make to its compile unit, and mark it as a line.

    A unit starts with its compilation; make starts a unit's next line when the line before has ended. Hence a line
    belongs to that unit, among those with no line running, which ended its last line first. All units of a build have
    the same number of lines, because they follow the same rule.
    """
    starts = {child.pid for child in make.children if _holds(child, names, COMPILER, UNIT_MARK)}
    followers = [c for c in make.children if c.pid not in starts and not _holds(c, names, "gcc")]
    per_unit = 1 + len(followers) // len(starts)
    follower_pids = {child.pid for child in followers}
    open_units: list[list[Life]] = []
    units: list[list[Life]] = []
    for child in make.children:
        if child.pid in starts:
            units.append([child])
            open_units.append(units[-1])
        elif child.pid in follower_pids:
            idle = [unit for unit in open_units if unit[-1].end <= child.clone_time]
            if not idle:
                continue
            unit = min(idle, key=lambda u: u[-1].end)
            unit.append(child)
        else:
            continue
        child.is_line = True
        open_units = [unit for unit in open_units if len(unit) < per_unit]
    return units


def _split_make(
    rows: list[Row], units: list[list[Life]], template_of: dict[int, int]
) -> tuple[list[Row], list[list[Row]]]:
    """Split the steps of the build's make into the template (prologue, LINES, epilogue) and a segment per line."""
    line_of = {template_of[line.pid]: (u, n) for u, unit in enumerate(units) for n, line in enumerate(unit)}
    clones = [i for i, row in enumerate(rows) if row[4] == Operation.CLONE and row[1] in line_of]
    first = clones[0]
    # The stack of the first spawn belongs to the first line; all that make did to read its files comes before.
    begin = first - 1 if rows[first - 1][4] == Operation.MAP else first
    found: dict[tuple[int, int], list[Row]] = {}
    previous = begin
    for i in clones:
        found[line_of[rows[i][1]]] = rows[previous : i + 1]
        previous = i + 1
    marker: Row = (0, 0, 0, 0, int(Step.LINES))
    segments = [found[u, n] for u, unit in enumerate(units) for n in range(len(unit))]
    return [*rows[:begin], marker, *rows[previous:]], segments


def _facts(recording: Recording, lives: list[Life], lines: list[int]) -> dict[str, Any]:
    kinds = Counter(recording.operations["kind"].tolist())
    return {
        "processes": len(lives),
        "faults": kinds[int(Operation.FAULT)],
        "execs": kinds[int(Operation.EXEC)],
        "compile_units": len(lines),
        "lines_per_unit": sorted(set(lines)),
    }
