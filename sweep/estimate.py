"""Says beforehand what a sweep will take, from what batches like its own took before on this machine."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from sweep.coordinate import canonical
from sweep.plan import PlannedBatch
from sweep.timings import BatchTiming, read_timings


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


def estimate(batches: Sequence[PlannedBatch], timings: Iterable[BatchTiming]) -> Estimate | None:
    """Return what the batches will take, or None if no batch of their workloads was ever run.

    A batch is compared with batches of the same workload, parameters and guest if there are any, else of the same
    workload and parameters, else of the same workload.
    """
    known: dict[bytes, list[BatchTiming]] = {}
    for timing in timings:
        for key in _keys(timing.workload, timing.parameters, timing.guest):
            known.setdefault(key, []).append(timing)
    means: dict[bytes, tuple[float, float]] = {}
    used: set[str] = set()
    seconds: list[float] = []
    total_bytes = 0.0
    for batch in batches:
        coordinate = batch.coordinate
        keys = _keys(coordinate.workload.name, coordinate.workload.parameters, asdict(coordinate.guest))
        matches = [key for key in keys if key in known]
        if not matches:
            return None
        key = matches[0]
        if key not in means:
            rows = known[key]
            means[key] = (fmean(row.seconds for row in rows), fmean(row.part_bytes / row.lanes for row in rows))
            used.update(row.batch for row in rows)
        batch_seconds, cell_bytes = means[key]
        seconds.append(batch_seconds)
        total_bytes += cell_bytes * len(batch.policies)
    source = f"the mean of {len(used)} earlier batches of the same workloads"
    return Estimate(core_seconds=tuple(seconds), bytes=total_bytes, source=source)


def _keys(workload: str, parameters: object, guest: object) -> list[bytes]:
    return [canonical([workload, parameters, guest]), canonical([workload, parameters]), canonical([workload])]
