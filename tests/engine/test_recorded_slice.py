"""Lanes and reference agree over a slice of a build made of recorded processes."""

from typing import Final

import numpy as np
import pytest

from engine.core.machine import LaneMachine
from engine.events import Events
from engine.guests import Guest
from engine.reference.machine import ReferenceMmu
from engine.vocabulary import COUNTER_INDEX, COUNTER_NAMES, Event
from engine.workloads import WORKLOADS
from tests.support.policies import POLICIES

GUEST: Final = Guest(vcpus=2, memory_mib=512)
NAMES: Final = ("kvm-3.0", "kvm-3.3", "kvm-6.1", "xiao-v1", "always-emulate")
OPERATIONS: Final = 200_000
TABLE_KINDS: Final = (Event.STORE, Event.CONTENT, Event.LINK, Event.CR3, Event.INVLPG, Event.FLUSH_ALL)


@pytest.fixture(scope="module")
def build() -> Events:
    """Return the first events of a build, down to the 200,000th operation on page tables."""
    source = WORKLOADS["kernbench"].open({"scale": 0.05}, GUEST, 1, 10_000_000)
    chunks, operations = [], 0
    for chunk in source.chunks():
        chunks.append(chunk.copy())
        operations += int(np.count_nonzero(np.isin(chunk["kind"], TABLE_KINDS)))
        if operations >= OPERATIONS:
            break
    events = np.concatenate(chunks)
    ends = np.flatnonzero(np.cumsum(np.isin(events["kind"], TABLE_KINDS)) == OPERATIONS)
    assert len(ends) > 0, "the build is shorter than the slice"
    return events[: ends[0] + 1]


@pytest.fixture(scope="module")
def lanes(build: Events) -> np.ndarray:
    """Return the counters of one machine with all lanes."""
    machine = LaneMachine([POLICIES[name] for name in NAMES], GUEST)
    machine.feed(build)
    return machine.counters()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_lane_equals_reference_over_a_build(name: str, build: Events, lanes: np.ndarray) -> None:
    """After 200,000 operations on page tables every counter of a lane is that of the reference."""
    reference = ReferenceMmu(POLICIES[name], GUEST)
    reference.feed(build)

    found = dict(zip(COUNTER_NAMES, lanes[NAMES.index(name)].tolist(), strict=True))

    assert found == dict(zip(COUNTER_NAMES, reference.counters().tolist(), strict=True))


def test_the_slice_makes_policies_differ(lanes: np.ndarray) -> None:
    """The slice is long enough for the counters that the policies are judged by to tell all of them apart."""
    judged = [COUNTER_INDEX[name] for name in ("exits", "mmu_pte_write", "mmu_shadow_zapped")]

    assert len({tuple(row) for row in lanes[:, judged].tolist()}) == len(NAMES)
    assert (lanes[:, COUNTER_INDEX["mmu_shadow_zapped"]][:-1] > 0).all()
