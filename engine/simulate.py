"""One call, one batch: a trace and up to 64 policies in, integers out."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.guests import Guest
from engine.policies.contract import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One (workload, guest, replicate) with its lanes."""

    workload: str
    parameters: dict[str, Any]
    guest: Guest
    policies: tuple[Policy, ...]
    seed: int
    window_ns: int = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCounts:
    """What a batch yields.

    `totals[lane, counter]` and `windows[window, lane, counter]` are int64 in the order of `COUNTERS`; windows add up to
    totals except for `pages_peak`, which is a maximum. Seconds are wall clock of this process; they are no result.
    """

    totals: npt.NDArray[np.int64]
    windows: npt.NDArray[np.int64]
    events: int
    native_seconds: float
    trace_digest: str
    generate_seconds: float
    guest_seconds: float
    engine_seconds: float


def run_batch(batch: Batch) -> BatchCounts:
    """Simulate one batch.

    Raises:
        ValueError: more policies than lanes, or none.
    """
    raise NotImplementedError
