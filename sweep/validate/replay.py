"""Runs the engine over a recording and cuts its counters per workload."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.events import Events
from engine.guests import Guest
from engine.knobs import Policy
from engine.reference.machine import ReferenceMmu

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
    """Return what the reference did of a recording, and its counters cut at the markers."""
    machine = ReferenceMmu(policy, guest, keep_log=keep_log)
    counts = _cut(machine, events, markers)
    return ReferenceRun(log=machine.log, counts=counts)


def _cut(machine: Any, events: Events, markers: Mapping[str, tuple[int, int]]) -> Counts:
    """Feed a whole recording to a machine, boot included; return what its counters gained in each workload."""
    counts: Counts = {}
    position = 0
    for workload, (start, end) in sorted(markers.items(), key=lambda marker: marker[1]):
        machine.feed(events[position:start])
        before = np.array(machine.counters(), dtype=np.int64)
        machine.feed(events[start:end])
        counts[workload] = np.array(machine.counters(), dtype=np.int64) - before
        position = end
    return counts


def run_lanes(
    policies: Sequence[Policy], guest: Guest, *, events: Events, markers: Mapping[str, tuple[int, int]]
) -> list[Counts]:
    """Return the counters of every policy per workload, from the lanes."""
    from engine.core.machine import LaneMachine

    gained = _cut(LaneMachine(policies, guest), events, markers)
    return [{workload: rows[lane] for workload, rows in gained.items()} for lane in range(len(policies))]
