"""Lanes and reference agree over every recording that the repository holds, under every policy."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from engine.core.machine import LaneMachine
from engine.events import Events
from engine.guests import Guest
from engine.reference.machine import ReferenceMmu
from engine.vocabulary import COUNTER_INDEX, COUNTER_NAMES
from engine.workloads import WORKLOADS
from sweep.recordings.importing import read_recording
from sweep.recordings.kvm.reading import load_events
from sweep.validate.recording_set import GUEST as RECORDED_GUEST
from tests.support.policies import POLICIES
from tests.support.project import DATA

EVENTS: Final = 15_000
"""How much of each recording the reference follows, under each policy; all of the two short ones."""
WINDOW_NS: Final = 10_000_000
OF_KVM: Final = sorted((DATA / "kvm-truth" / "events").glob("*.parquet"))
OF_PROCESSES: Final = sorted((DATA / "perf").glob("*.perf.txt*"))


def events_of_kvm(recording: Path, guest: Guest, _folder: Path) -> Events:
    """Return what the guest of a recorded KVM did from the first workload on, after the state that it had then."""
    assert guest == RECORDED_GUEST
    return load_events(recording, include_boot=False).events


def events_of_processes(recording: Path, guest: Guest, folder: Path) -> Events:
    """Return what a guest kernel does for recorded processes."""
    operations, _ = read_recording(recording)
    array = folder / "recording.npy"
    np.save(array, operations)
    source = WORKLOADS["recorded"].open({"path": str(array)}, guest, 1, WINDOW_NS)
    return np.concatenate([chunk.copy() for chunk in source.chunks()])


FOLLOWED: Final = (
    *POLICIES.values(),
    *(POLICIES[name].override(f"{name}-small-pool", {"pool_pages": 26}) for name in ("kvm-3.0", "kvm-6.1", "xen-oos")),
)
"""The shipped policies, and some under which the pool is full all the time."""
SHADOWING: Final = [lane for lane, policy in enumerate(FOLLOWED) if policy.knobs.shadow]
CASES: Final = [
    *(pytest.param(path, RECORDED_GUEST, events_of_kvm, id=path.stem) for path in OF_KVM),
    *(pytest.param(path, Guest(vcpus=4, memory_mib=256), events_of_processes, id=path.stem) for path in OF_PROCESSES),
]


@pytest.mark.parametrize(("recording", "guest", "read"), CASES)
def test_lanes_equal_the_reference_over_a_recording(
    recording: Path, guest: Guest, read: Callable[[Path, Guest, Path], Events], tmp_path: Path
) -> None:
    """Every counter of every policy is that of the reference, at the end of the recording's first events."""
    events = read(recording, guest, tmp_path)[:EVENTS]
    machine = LaneMachine(FOLLOWED, guest)
    machine.feed(events)

    assert (machine.counters()[SHADOWING, COUNTER_INDEX["exits"]] > 0).all()
    assert (machine.counters()[len(POLICIES) :, COUNTER_INDEX["mmu_recycled"]] > 0).all()
    for policy, found in zip(FOLLOWED, machine.activities().transpose(1, 0, 2), strict=True):
        reference = ReferenceMmu(policy, guest)
        reference.feed(events)
        differ = np.argwhere(found != reference.activities())
        assert [(policy.name, COUNTER_NAMES[counter]) for _, counter in differ] == []


def test_all_recordings_are_followed() -> None:
    """Each kind of recording is there, so that the test above follows some of each."""
    assert OF_KVM
    assert OF_PROCESSES
