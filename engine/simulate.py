"""One call, one batch: a trace and policies in, integers out."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.guests import Guest
from engine.knobs import Policy
from engine.vocabulary import COUNTER_INDEX


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

    `totals[lane, counter]`, `windows[window, lane, counter]` and `activities[activity, lane, counter]` are int64 in the
    order of `COUNTERS`. Windows and activities add up to totals, except for `pages_peak`: a maximum in totals and
    windows, 0 in activities. Seconds are wall clock of this process; they are no result.
    """

    totals: npt.NDArray[np.int64]
    windows: npt.NDArray[np.int64]
    activities: npt.NDArray[np.int64]
    events: int
    native_seconds: float
    trace_digest: str
    generate_seconds: float
    guest_seconds: float
    engine_seconds: float


def run_batch(batch: Batch) -> BatchCounts:
    """Simulate one batch.

    Raises:
        KeyError: no such workload.
        ValueError: no policy; a parameter or a guest that cannot be.
    """
    # A planner that only wants to describe a batch does not need the core.
    from engine.core.machine import LaneMachine
    from engine.digest import TraceDigest
    from engine.workloads import WORKLOADS

    machine = LaneMachine(batch.policies, batch.guest)
    workload = WORKLOADS[batch.workload]
    source = workload.open(batch.parameters, batch.guest, batch.seed, batch.window_ns)
    digest = TraceDigest()
    seconds = 0.0
    for events in source.chunks():
        started = time.perf_counter()
        machine.feed(events)
        digest.update(events)
        seconds += time.perf_counter() - started
    totals = machine.counters()
    return BatchCounts(
        totals=totals,
        windows=window_counts([*machine.windows, totals]),
        activities=machine.activities(),
        events=digest.events,
        native_seconds=source.native_seconds,
        trace_digest=digest.hexdigest(),
        generate_seconds=source.seconds.generate,
        guest_seconds=source.seconds.guest,
        engine_seconds=seconds,
    )


def window_counts(cumulative: list[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """Return counters[window, lane, counter] of each window from totals at their ends; a peak stays what it was."""
    ends = np.stack(cumulative)
    counts = np.diff(ends, axis=0, prepend=np.zeros_like(ends[:1]))
    peak = COUNTER_INDEX["pages_peak"]
    counts[:, :, peak] = ends[:, :, peak]
    return counts
