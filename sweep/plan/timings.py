"""What each batch took, as one JSON line per batch in the run's folder: no result, but what estimates stand on."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

TIMINGS_FILE: Final = "timings.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReport:
    """What a finished batch took; its rows are in the part that the worker wrote."""

    windows: int
    events: int
    native_seconds: float
    seconds: float
    generate_seconds: float
    guest_seconds: float
    engine_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTiming(BatchReport):
    """The same with what the batch was about."""

    batch: str
    workload: str
    parameters: dict[str, Any]
    guest: dict[str, Any]
    replicate: int
    lanes: int
    window_ns: int
    part_bytes: int


def timing_text(timings: Iterable[BatchTiming]) -> str:
    """Return the lines that are added to a run's timings."""
    return "".join(json.dumps(asdict(timing), sort_keys=True) + "\n" for timing in timings)


def read_timings(run: Path) -> Iterator[BatchTiming]:
    """Yield the timings of a run in a folder."""
    path = run / TIMINGS_FILE
    if path.is_file():
        yield from timings_of(path.read_text(encoding="utf-8").splitlines())


def timings_of(lines: Iterable[str]) -> Iterator[BatchTiming]:
    """Yield the timings of some lines; what a crash or another version left unreadable is passed over."""
    names = {f.name for f in fields(BatchTiming)}
    for line in lines:
        try:
            values = json.loads(line)
        except ValueError:
            continue
        if isinstance(values, dict) and values.keys() == names:
            yield BatchTiming(**values)
