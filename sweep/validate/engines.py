"""Runs the engine over a recording and cuts its counters per workload."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.events import Events
from engine.guests import Guest
from engine.knobs import Policy
from engine.reference.machine import ReferenceMmu
from engine.vocabulary import LANES_MAX

LogEntry = tuple[int, str, int, int, int]
Counts = dict[str, npt.NDArray[np.int64]]
"""Workload -> counters in the order of COUNTERS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceRun:
    """What the reference did: its reactions in order and its counters per workload."""

    log: list[LogEntry]
    counts: Counts


def run_reference(
    policy: Policy, guest: Guest, *, events: Events, markers: Mapping[str, tuple[int, int]], keep_log: bool = True
) -> ReferenceRun:
    """Feed a whole recording to the reference, boot included, and cut its counters at the markers."""
    machine = ReferenceMmu(policy, guest, keep_log=keep_log)
    counts: Counts = {}
    position = 0
    for workload, (start, end) in sorted(markers.items(), key=lambda marker: marker[1]):
        machine.feed(events[position:start])
        before = machine.counters()
        machine.feed(events[start:end])
        counts[workload] = machine.counters() - before
        position = end
    return ReferenceRun(log=machine.log, counts=counts)


def run_lanes(
    policies: Sequence[Policy], guest: Guest, *, events: Events, markers: Mapping[str, tuple[int, int]]
) -> list[Counts]:
    """Return the counters of every policy per workload, from the lanes."""
    chunks = [policies[i : i + LANES_MAX] for i in range(0, len(policies), LANES_MAX)]
    return [counts for chunk in chunks for counts in _run_chunk(chunk, guest, events=events, markers=markers)]


def _run_chunk(
    policies: Sequence[Policy], guest: Guest, *, events: Events, markers: Mapping[str, tuple[int, int]]
) -> list[Counts]:
    from engine.core.machine import LaneMachine

    machine = LaneMachine(policies, guest)
    counts: list[Counts] = [{} for _ in policies]
    position = 0
    for workload, (start, end) in sorted(markers.items(), key=lambda marker: marker[1]):
        machine.feed(events[position:start])
        before = np.array(machine.counters(), dtype=np.int64)
        machine.feed(events[start:end])
        gained = np.array(machine.counters(), dtype=np.int64) - before
        for lane, row in enumerate(gained):
            counts[lane][workload] = row
        position = end
    return counts
