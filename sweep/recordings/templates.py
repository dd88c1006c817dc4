"""Derive process templates from the recording of a kernel build: `sweep trace templates RECORDING -o FILE`.

Every process life of the recording becomes one template. One make is special: the one that runs the compile units. Its
life is cut into a prologue, one segment per recipe line (what make does before it starts that line) and an epilogue, so
that the generator can run any units in any number at once. Nothing is averaged and nothing is invented.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.vocabulary import Operation
from engine.workloads.templates import Step, Templates, write_templates
from sweep.recordings.template_lives import Life, Row, pack, read_lives, steps_of

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
