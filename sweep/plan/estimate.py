"""Says beforehand what a sweep will take, from what batches like its own took before."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any, Final

from sweep.plan.cell import canonical
from sweep.plan.plan import PlannedBatch
from sweep.plan.timings import BatchTiming, read_timings

LIKENESS: Final = ("", ", on other guests", ", of other parameters: a rough guess")
"""What an estimate says of the batches that it stands on, by how little they are like what is to do."""


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


def estimate_cost(batches: Sequence[PlannedBatch], runs: Path, own: Iterable[BatchTiming] = ()) -> Estimate | None:
    """Return what the batches will take by the earlier runs in a folder, and by `own`, which the run itself has."""
    return estimate(batches, [*known_timings(runs), *own])


def estimate(batches: Sequence[PlannedBatch], timings: Iterable[BatchTiming]) -> Estimate | None:
    """Return what the batches will take, or None if a workload among them was never run.

    A batch is compared with batches of the same workload, parameters and guest if there are any, else of the same
    workload and parameters, else with those of the same workload that are next in size, in proportion to it.
    """
    known: dict[bytes, list[BatchTiming]] = {}
    for timing in timings:
        for key in _keys(timing.workload, timing.parameters, timing.guest):
            known.setdefault(key, []).append(timing)
    found: dict[tuple[bytes, float], tuple[float, float]] = {}
    used: set[str] = set()
    seconds: list[float] = []
    total_bytes = 0.0
    least_like = 0
    # Neighbours have workload and guest in common: of a million cells, few are looked at.
    for _, alike in groupby(batches, lambda batch: (id(batch.coordinate.workload), batch.coordinate.guest)):
        group = list(alike)
        coordinate = group[0].coordinate
        keys = _keys(coordinate.workload.name, coordinate.workload.parameters, asdict(coordinate.guest))
        match = next((index for index, key in enumerate(keys) if key in known), None)
        if match is None:
            return None
        least_like = max(least_like, match)
        size = _size(coordinate.workload.parameters)
        place = keys[match], size
        if place not in found:
            rows = _next_in_size(known[keys[match]], size)
            # The median: the first batch on a machine compiles, and must not stand for those that load.
            per_size = median(row.seconds / _size(row.parameters) for row in rows)
            found[place] = (per_size, median(_window_bytes(row) for row in rows))
            used.update(f"{row.batch} {row.seconds}" for row in rows)
        seconds += [found[place][0] * size] * len(group)
        total_bytes += sum(found[place][1] * size / batch.window_ns * len(batch.policies) for batch in group)
    source = f"{len(used)} earlier batches here{LIKENESS[least_like]}"
    return Estimate(core_seconds=tuple(seconds), bytes=total_bytes, source=source)


def _next_in_size(rows: Sequence[BatchTiming], size: float) -> list[BatchTiming]:
    """Return the batches whose size is the nearest by ratio."""
    apart = [abs(math.log(_size(row.parameters) / size)) for row in rows]
    nearest = min(apart)
    return [row for row, distance in zip(rows, apart, strict=True) if distance == nearest]


def _window_bytes(row: BatchTiming) -> float:
    """Return bytes per policy and size, for windows of 1 ns: rows are as many as windows, and windows set the bytes."""
    return row.part_bytes / row.lanes / _size(row.parameters) * row.window_ns


def _size(parameters: Any) -> float:
    """Return how much work a workload is, in units that mean something between two of the same name only."""
    return float(parameters.get("compile_units", 1)) * float(parameters.get("scale", 1)) or 1.0


def _keys(workload: str, parameters: object, guest: object) -> list[bytes]:
    return [canonical([workload, parameters, guest]), canonical([workload, parameters]), canonical([workload])]
