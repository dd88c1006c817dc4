"""An engine and workloads that answer at once, so that the fan-out can be tested alone."""

import hashlib
import os
import resource
import signal
import sys
import time
from pathlib import Path

import numpy as np

from engine.fields import Field
from engine.simulate import Batch, BatchCounts
from engine.vocabulary import COUNTER_INDEX, COUNTER_NAMES, Activity
from engine.workloads.contract import Workload
from results.store.rows import Counts
from sweep.plan.cell import knobs_key
from tests.support.synthetic import totals_of

WINDOWS = 3
POLICY_NAMES = ("always-emulate", "kvm-3.0", "xiao-v1", "kvm-3.3", "kvm-6.1", "tdp")
HUNGER_BYTES = 6 << 30
HUNGER_SECONDS = 60
KNOB_NAMES = ("flood_scope", "flood_threshold", "misaligned", "unsync")

WORKLOADS = {
    "kernbench": Workload(
        name="kernbench",
        summary="a build",
        source="tests",
        parameters={
            "units": Field(default=100, meaning="files to compile", minimum=1, maximum=10_000),
            "load": Field(default="half", meaning="jobs", choices=("half", "optimal", "max")),
            "vfork_as_fork": Field(default=True, meaning="shells fork"),
            "share": Field(default=0.5, meaning="a number", minimum=0.0, maximum=1.0),
            "marker": Field(default="", meaning="a file by which tests and workers talk"),
        },
    ),
    "replay": Workload(
        name="replay",
        summary="a recording",
        source="tests",
        parameters={"path": Field(default="", meaning="the file that is replayed")},
    ),
    "fork": Workload(name="fork", summary="forks", source="tests", parameters={}),
}


def simulate(batch: Batch) -> BatchCounts:
    """Return counts that depend on the seed, the guest and the knobs, as a real engine's do."""
    lanes = []
    trace = f"{batch.seed} {batch.guest} {batch.workload} {sorted(batch.parameters.items())}"
    for policy in batch.policies:
        key = hashlib.blake2b(knobs_key(policy.knobs) + trace.encode(), digest_size=8).digest()
        rng = np.random.default_rng(int.from_bytes(key, "little"))
        lanes.append(rng.integers(0, 1000, size=(WINDOWS, len(COUNTER_NAMES)), dtype=np.int64))
    windows = np.stack(lanes, axis=1)
    windows[:, :, COUNTER_INDEX["guest_run_ns"]] = batch.window_ns * batch.guest.vcpus
    windows[:, :, COUNTER_INDEX["fatal"]] = 0
    return BatchCounts(
        totals=totals_of(windows),
        windows=windows,
        activities=_activities(windows),
        events=1000,
        native_seconds=WINDOWS * batch.window_ns / 1e9,
        trace_digest=hashlib.blake2b(trace.encode(), digest_size=8).hexdigest(),
        generate_seconds=0.01,
        guest_seconds=0.02,
        engine_seconds=0.07,
    )


def _activities(windows: Counts) -> Counts:
    """Return counts as if a fork had taken the first window and an exit the rest."""
    activities = np.zeros((len(Activity), *windows.shape[1:]), dtype=np.int64)
    activities[Activity.FORK] = windows[0]
    activities[Activity.EXIT] = windows[1:].sum(axis=0)
    activities[:, :, COUNTER_INDEX["pages_peak"]] = 0
    return activities


def fail_on_two_vcpus(batch: Batch) -> BatchCounts:
    """Raise for the guests with two vCPUs."""
    if batch.guest.vcpus == 2:
        raise ValueError("two vCPUs are too many")
    return simulate(batch)


def die_once(batch: Batch) -> BatchCounts:
    """Kill the own process, but only the first one that gets here."""
    marker = Path(batch.parameters["marker"])
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return simulate(batch)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def die_on_two_vcpus(batch: Batch) -> BatchCounts:
    """Kill the own process whenever the guest has two vCPUs."""
    if batch.guest.vcpus == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return simulate(batch)


def fail_until_mended(batch: Batch) -> BatchCounts:
    """Fail in one way for two vCPUs and in another one for four, each until the marker of that way is there."""
    marker = batch.parameters["marker"]
    if batch.guest.vcpus == 2 and not Path(marker + ".value").exists():
        sys.stderr.write(f"looking at the value {batch.guest.vcpus}\n")
        raise ValueError(f"{batch.guest.vcpus} vCPUs are too many")
    if batch.guest.vcpus == 4 and not Path(marker + ".lookup").exists():
        raise LookupError("no table for these vCPUs")
    return simulate(batch)


def need_memory_per_lane(batch: Batch) -> BatchCounts:
    """Have room for one lane only."""
    if len(batch.policies) > 1:
        raise MemoryError(f"no room for {len(batch.policies)} lanes")
    return simulate(batch)


def take_all_memory_but_with_one_lane(batch: Batch) -> BatchCounts:
    """Hold more memory than the test leaves, until somebody ends this process; answer with one lane."""
    if len(batch.policies) > 1:
        held = np.ones(HUNGER_BYTES, dtype=np.uint8)
        time.sleep(HUNGER_SECONDS)
        raise AssertionError(f"nobody has ended a process with {held.nbytes} bytes")
    return simulate(batch)


def find_the_disk_full(batch: Batch) -> BatchCounts:
    """Answer, but for the guests with one vCPU let this process write no more, until the marker is there."""
    if batch.guest.vcpus == 1 and not Path(batch.parameters["marker"] + ".mended").exists():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    return simulate(batch)


def wait_for_the_marker(batch: Batch) -> BatchCounts:
    """Answer for the first half of a small sweep; else say so and wait until the test lets go.

    Half are two batches, or eight if there is the mark `many`.
    """
    marker = batch.parameters["marker"]
    first = 8 if Path(marker + ".many").exists() else 2
    if not any(_is_new(Path(f"{marker}.{number}.answers")) for number in range(first)):
        Path(f"{marker}.{batch.seed}.{batch.guest.vcpus}.waits").touch()
        while not Path(marker + ".go").exists():
            time.sleep(0.02)
    return simulate(batch)


def _is_new(path: Path) -> bool:
    """Make a file; return whether it was not there: two workers never share one."""
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def take_a_moment(batch: Batch) -> BatchCounts:
    """Take 100 to 300 ms, by the seed."""
    time.sleep(0.1 + batch.seed % 200 / 1000)
    return simulate(batch)
