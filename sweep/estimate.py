"""Says beforehand what a sweep will take, from what batches like its own took before."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any, Final

from sweep.coordinate import canonical
from sweep.plan import PlannedBatch
from sweep.timings import BatchTiming, read_timing_lines, read_timings

CALIBRATION: Final = Path(__file__).resolve().parent.parent / "configs" / "calibration.jsonl"
"""Timings of some batches that come with the program, for machines on which nothing was run yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Core-seconds and bytes per batch, and what they are derived from."""

    core_seconds: tuple[float, ...]
    bytes: float
    source: str

    @property
    def total_seconds(self) -> float:
        """Core-seconds of all batches."""
        return sum(self.core_seconds)


def known_timings(runs: Path) -> list[BatchTiming]:
    """Return the timings of all runs in a folder."""
    return [timing for run in sorted(runs.glob("*/")) for timing in read_timings(run)] if runs.is_dir() else []


def estimate_cost(batches: Sequence[PlannedBatch], runs: Path) -> Estimate | None:
    """Return what the batches will take by earlier runs on this machine, else by the shipped calibration."""
    here = estimate(batches, known_timings(runs), name="earlier batches here")
    return here or estimate(batches, read_timing_lines(CALIBRATION), name="batches of another machine")


def estimate(batches: Sequence[PlannedBatch], timings: Iterable[BatchTiming], *, name: str) -> Estimate | None:
    """Return what the batches will take, or None if a workload among them was never run.

    A batch is compared with batches of the same workload, parameters and guest if there are any, else of the same
    workload and parameters, else of the same workload, and then in proportion to the size of the work.
    """
    known: dict[bytes, list[BatchTiming]] = {}
    for timing in timings:
        for key in _keys(timing.workload, timing.parameters, timing.guest):
            known.setdefault(key, []).append(timing)
    found: dict[bytes, tuple[float, float]] = {}
    used: set[str] = set()
    seconds: list[float] = []
    total_bytes = 0.0
    # Neighbours have workload and guest in common: of a million cells, few are looked at.
    for _, alike in groupby(batches, lambda batch: (id(batch.coordinate.workload), batch.coordinate.guest)):
        group = list(alike)
        coordinate = group[0].coordinate
        keys = _keys(coordinate.workload.name, coordinate.workload.parameters, asdict(coordinate.guest))
        matches = [key for key in keys if key in known]
        if not matches:
            return None
        key = matches[0]
        if key not in found:
            rows = known[key]
            # The median: the first batch on a machine compiles, and must not stand for those that load.
            per_size = median(row.seconds / _size(row.parameters) for row in rows)
            found[key] = (per_size, median(_window_bytes(row) for row in rows))
            used.update(f"{row.batch} {row.seconds}" for row in rows)
        size = _size(coordinate.workload.parameters)
        seconds += [found[key][0] * size] * len(group)
        total_bytes += sum(found[key][1] * size / batch.window_ns * len(batch.policies) for batch in group)
    return Estimate(core_seconds=tuple(seconds), bytes=total_bytes, source=f"{len(used)} {name}")


def _window_bytes(row: BatchTiming) -> float:
    """Return bytes per policy and size, for windows of 1 ns: rows are as many as windows, and windows set the bytes."""
    return row.part_bytes / row.lanes / _size(row.parameters) * row.window_ns


def _size(parameters: Any) -> float:
    """Return how much work a workload is, in units that mean something between two of the same name only."""
    return float(parameters.get("compile_units", 1)) * float(parameters.get("scale", 1)) or 1.0


def _keys(workload: str, parameters: object, guest: object) -> list[bytes]:
    return [canonical([workload, parameters, guest]), canonical([workload, parameters]), canonical([workload])]
