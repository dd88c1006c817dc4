"""Measures the engine: the lane kernel alone, guest model and generator, and whole batches.

Rounds take turns: each round measures everything once, so that ratios hold when the machine's speed drifts.
"""

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.events import Events
from engine.guest.parameters import LINUX_2011
from engine.guests import Guest
from engine.knobs import Policy
from engine.simulate import Batch, run_batch
from engine.vocabulary import LANES_MAX
from engine.workloads import WORKLOADS
from sweep.bench.figures import Figure
from sweep.spec.policies import shipped_policies

GUEST: Final = Guest(vcpus=2, memory_mib=1024)
SEED: Final = 1
WINDOW_NS: Final = 1_000_000_000
SERIES_2011: Final = (
    "kvm-3.0",
    "+desc-topup",
    "+rep-string-zap",
    "+last-byte",
    "+spte-accessed-flooding",
    "xiao-v1",
    "kvm-3.3",
    "kvm-6.1",
)
BASES: Final = (
    "kvm-3.3",
    "kvm-6.1",
    "kvm-3.0",
    "xiao-v1",
    "+desc-topup",
    "+rep-string-zap",
    "+last-byte",
    "strict-mmu",
)
"""Policies that are multiplied by 64 flood thresholds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A trace in memory."""

    name: str
    events: tuple[Events, ...]
    guest: Guest

    @property
    def count(self) -> int:
        """Number of its events."""
        return sum(map(len, self.events))


@dataclass(slots=True, kw_only=True)
class Rounds:
    """What was measured of one thing so far."""

    seconds: list[float]
    digest: str = ""


def policy_sets() -> dict[str, tuple[Policy, ...]]:
    """Return what is measured: one policy, eight of 2011 and after, all that are shipped, 64 and 512 thresholds."""
    shipped = shipped_policies()
    thresholds = [
        shipped[base].override(f"{base} threshold {number}", {"flood_threshold": number})
        for base in BASES
        for number in range(1, LANES_MAX + 1)
    ]
    return {
        "1 policy": (shipped["kvm-6.1"],),
        "8 policies": tuple(shipped[name] for name in SERIES_2011),
        f"{len(shipped)} policies": tuple(shipped.values()),
        "64 policies": tuple(thresholds[:LANES_MAX]),
        f"{len(thresholds)} policies": tuple(thresholds),
    }


def kernbench(scale: float) -> tuple[Trace, dict[str, float]]:
    """Return a generated build, and the seconds that generator and guest model took for it."""
    parameters = {"scale": scale, **LINUX_2011}
    source = WORKLOADS["kernbench"].open(parameters, GUEST, SEED, WINDOW_NS)
    events = tuple(np.array(chunk) for chunk in source.chunks())
    seconds = {"generator": source.seconds.generate, "guest model": source.seconds.guest}
    return Trace(name="kernbench", events=events, guest=GUEST), seconds


def recorded(path: str, guest: Guest) -> Trace:
    """Return a recording that was imported, on a guest.

    Raises:
        ValueError: no recording, or one that needs another guest.
    """
    source = WORKLOADS["recorded"].open({"path": path}, guest, SEED, WINDOW_NS)
    return Trace(name=path, events=tuple(np.array(chunk) for chunk in source.chunks()), guest=guest)


def measure_kernels(traces: Sequence[Trace], rounds: int) -> Iterator[Figure]:
    """Yield for each trace and set of policies what an event takes in the lane kernel alone."""
    taken: dict[tuple[int, str], Rounds] = {}
    sets = policy_sets()
    for _ in range(rounds):
        for number, trace in enumerate(traces):
            for name, policies in sets.items():
                seconds, counters = _kernel(trace, policies)
                one = taken.setdefault((number, name), Rounds(seconds=[]))
                one.seconds.append(seconds)
                one.digest = hashlib.blake2b(counters.tobytes(), digest_size=8).hexdigest()
    for (number, name), one in taken.items():
        trace = traces[number]
        yield _per_event(f"kernel, {trace.name}, {name}", trace.count, one, policies=len(sets[name]))


def measure_trace(scale: float, rounds: int) -> Iterator[Figure]:
    """Yield what an event takes in the generator and in the guest model."""
    from engine.digest import TraceDigest

    taken: dict[str, Rounds] = {}
    count = 0
    for _ in range(rounds):
        trace, seconds = kernbench(scale)
        digest = TraceDigest()
        for events in trace.events:
            digest.update(events)
        count = trace.count
        for name, value in seconds.items():
            one = taken.setdefault(name, Rounds(seconds=[]))
            one.seconds.append(value)
            one.digest = digest.hexdigest()
    for name, one in taken.items():
        yield _per_event(name, count, one)


def measure_batch(scale: float, rounds: int) -> Iterator[Figure]:
    """Yield what an event takes in a whole batch of 64 policies: generator, guest model, kernel, digest."""
    policies = policy_sets()["64 policies"]
    batch = Batch(
        workload="kernbench",
        parameters={"scale": scale, **LINUX_2011},
        guest=GUEST,
        policies=policies,
        seed=SEED,
        window_ns=WINDOW_NS,
    )
    one, count = Rounds(seconds=[]), 0
    for _ in range(rounds):
        started = time.perf_counter()
        counts = run_batch(batch)
        one.seconds.append(time.perf_counter() - started)
        one.digest = hashlib.blake2b(counts.totals.tobytes(), digest_size=8).hexdigest()
        count = counts.events
    yield _per_event("whole batch, kernbench, 64 policies", count, one, policies=len(policies))


def _kernel(trace: Trace, policies: Sequence[Policy]) -> tuple[float, npt.NDArray[np.int64]]:
    """Return the seconds that all policies take over a trace, and their counters[policy, counter]."""
    from engine.core.machine import LaneMachine

    machine = LaneMachine(policies, trace.guest)
    started = time.perf_counter()
    for events in trace.events:
        machine.feed(events)
    seconds = time.perf_counter() - started
    return seconds, machine.counters()


def _per_event(name: str, events: int, one: Rounds, *, policies: int = 0) -> Figure:
    figure = Figure(
        name=name,
        unit="ns/event",
        rounds=tuple(seconds / events * 1e9 for seconds in one.seconds),
        digest=one.digest,
    )
    return replace(figure, per_second=policies / figure.median * 1e9)
