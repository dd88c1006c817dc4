"""A machine says what it has no room for, instead of counting wrong."""

from typing import Final

import numpy as np
import pytest

from engine.core.machine import FRAMES, VCPUS, WORDS, CapacityError, LaneMachine
from engine.events import EVENT
from engine.guests import GUEST_FIELDS, Guest
from engine.knobs import KNOBS
from engine.vocabulary import Event
from tests.support.policies import POLICIES

TABLES: Final = WORDS[0].tables
GUEST: Final = Guest(vcpus=1, memory_mib=4)
ONE: Final = (POLICIES["kvm-6.1"],)


def full_of_tables(extra: int) -> np.ndarray:
    """Return events that make as many frames tables as there is room for, and `extra` more."""
    events = np.zeros(TABLES + extra, dtype=EVENT)
    events["kind"] = Event.LINK
    events["address"] = np.arange(len(events), dtype=np.uint64) << 12
    events["value"] = 1
    return events


def test_too_many_tables_are_an_error() -> None:
    """A trace with more tables than there is room for ends with what is exhausted, how much there is, and advice."""
    machine = LaneMachine(ONE, Guest(vcpus=1, memory_mib=TABLES // 256 + 1))

    with pytest.raises(CapacityError, match=rf"room for {TABLES} guest frames .*; give the guest less memory"):
        machine.feed(full_of_tables(1))


def test_tables_that_fit_are_no_error() -> None:
    """Tables that are made again and again take room once."""
    machine = LaneMachine(ONE, GUEST)
    events = np.tile(full_of_tables(0)[: GUEST.pages], 1 + TABLES // GUEST.pages)

    machine.feed(events)

    assert not machine.counters().any()


def test_what_may_be_asked_for_has_room() -> None:
    """What fields of guests and knobs allow is what the machine has room for, so that a plan refuses all beyond it."""
    asked = {"memory": GUEST_FIELDS["memory_mib"], "vCPUs": GUEST_FIELDS["vcpus"], "pool": KNOBS["pool_pages"]}

    assert {name: field.maximum for name, field in asked.items()} == {
        "memory": FRAMES // 256,
        "vCPUs": VCPUS,
        "pool": WORDS[0].slots,
    }


@pytest.mark.parametrize(
    ("guest", "found"),
    [
        (Guest(vcpus=1, memory_mib=FRAMES // 256 + 1), f"memory_mib {FRAMES // 256 + 1} and vcpus 1"),
        (Guest(vcpus=VCPUS + 1, memory_mib=4), f"memory_mib 4 and vcpus {VCPUS + 1}"),
    ],
)
def test_too_large_a_guest_is_refused(guest: Guest, found: str) -> None:
    """A guest with too much memory or too many vCPUs is refused with what is allowed and what was found."""
    allowed = f"a guest has at most {FRAMES // 256} MiB and {VCPUS} vCPUs, found {found}"

    with pytest.raises(ValueError, match=allowed):
        LaneMachine(ONE, guest)


def test_an_event_on_an_unknown_vcpu_is_refused() -> None:
    """A trace that was recorded on more vCPUs than the guest has is refused before any of it is carried out."""
    events = full_of_tables(0)[:2]
    events["vcpu"] = (0, 1)

    with pytest.raises(ValueError, match=r"event 1 \(LINK\): vCPU 1: guests.vcpus is 1"):
        LaneMachine(ONE, GUEST).feed(events)


def test_a_batch_has_lanes() -> None:
    """No policy at all is refused."""
    with pytest.raises(ValueError, match="a batch has at least one policy, found none"):
        LaneMachine([], GUEST)
