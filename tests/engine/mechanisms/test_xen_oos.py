"""Single decisions of Xen's rules, each with the counts that follow from its sources, plainly and in lanes.

Sources: Xen xen/arch/x86/mm/shadow/oos.c (`oos_hash_add`, `sh_resync_all`) and hvm.c (`check_for_early_unshadow`).
"""

from dataclasses import replace
from typing import Final

import pytest

from engine import x86
from engine.core.machine import LaneMachine
from engine.guests import Guest
from engine.knobs import Policy
from engine.reference.machine import ReferenceMmu
from engine.vocabulary import COUNTER_NAMES, Access, Event, Instruction
from tests.support.engine import tiny
from tests.support.engine.tiny import Trace, gpa
from tests.support.policies import POLICIES

GUEST: Final = Guest(vcpus=2, memory_mib=4)
XEN: Final = POLICIES["xen-oos"]
ROOT, OTHER_ROOT, L3, L2 = 24, 25, 32, 44
LEAVES: Final = (33, 36, 39, 35, 34)
"""Level-1 tables; the remainder of their gfns by 3 is 0, 0, 0, 2, 1."""
VA: Final = 0x400000
USER_READ: Final = Access.READ | Access.USER


def shadowed() -> Trace:
    """Return a trace after which all tables are shadowed, ROOT is loaded and the direct map is there."""
    trace = Trace()
    trace.kernel(pages=GUEST.pages)
    for root in (ROOT, OTHER_ROOT):
        trace.root(root)
    trace.content(ROOT, 0, gpa(L3) | tiny.LINK)
    trace.content(L3, 0, gpa(L2) | tiny.LINK)
    for place, leaf in enumerate(LEAVES):
        trace.content(L2, 2 + place, gpa(leaf) | tiny.LINK)
        trace.content(leaf, 0, gpa(48) | tiny.DATA)
    for vcpu in range(GUEST.vcpus):
        trace.add(Event.CR3, value=gpa(ROOT), vcpu=vcpu)
    for table in (L2, *LEAVES):
        trace.touch(tiny.direct(table))
    for place in range(len(LEAVES)):
        trace.touch(VA + (place << 21), USER_READ)
    return trace


def gained(after: Trace, *names: str, before: Trace | None = None, policy: Policy = XEN) -> tuple[int, ...]:
    """Return what the events of `after` add to some counters, by the reference and, equally, by a lane."""
    before = before or shadowed()
    reference, lanes = ReferenceMmu(policy, GUEST), LaneMachine([policy], GUEST)
    reference.feed(before.events())
    lanes.feed(before.events())
    start = reference.counters()
    reference.feed(after.events())
    lanes.feed(after.events())
    assert lanes.counters()[0].tolist() == reference.counters().tolist()
    counts = dict(zip(COUNTER_NAMES, (reference.counters() - start).tolist(), strict=True))
    return tuple(counts[name] for name in names)


def stores(*tables: int, vcpu: int = 0) -> Trace:
    """Return a store to each of some tables."""
    trace = Trace()
    for table in tables:
        trace.store(gpa(table, 9), gpa(49) | tiny.DATA, vcpu=vcpu)
    return trace


@pytest.mark.parametrize(
    ("tables", "evicted"),
    [
        # One whose place is free, and one that moves the first to its second place.
        (LEAVES[:2], 0),
        # The third moves the second to where the first is, which makes room.
        (LEAVES[:3], 1),
        # Three that have three different places.
        ((33, 34, 35), 0),
        # A page at its second place makes room for one that belongs there.
        (LEAVES, 2),
    ],
)
def test_a_vcpu_has_at_most_three_pages_out_of_sync(tables: tuple[int, ...], evicted: int) -> None:
    """Each page has two places of the vCPU's three; what a newcomer finds there moves on or is resynchronised."""
    found = gained(stores(*tables), "oos_evictions", "unsync_events", "sync_events", "mmu_unsync")

    assert found == (evicted, len(tables), evicted, len(tables) - evicted)


def test_each_vcpu_has_places_of_its_own() -> None:
    """Pages that one vCPU put out of sync make no room for those of another."""
    trace = stores(*LEAVES[:2])
    trace.rows += stores(LEAVES[2], vcpu=1).rows

    assert gained(trace, "oos_evictions", "mmu_unsync") == (0, 3)


def test_a_page_that_was_evicted_traps_again() -> None:
    """The page that made room is protected: the next store to it exits, and puts it out of sync anew."""
    assert gained(stores(*LEAVES[:3], 33), "unsync_events", "pf_taken", "oos_evictions") == (4, 4, 2)
    assert gained(stores(*LEAVES[:3], 39), "unsync_events", "pf_taken", "oos_evictions") == (3, 3, 1)


def test_a_page_with_two_shadows_stays_in_sync() -> None:
    """A table that is shadowed for two kinds of access is written by the emulator."""
    twice = shadowed()
    twice.content(L2, 9, gpa(33) | tiny.LINK & ~x86.WRITABLE)
    twice.touch(VA + (7 << 21), USER_READ)
    trace = stores(33)

    assert gained(trace, "unsync_events", "pf_emulate", before=twice) == (0, 1)
    assert gained(trace, "unsync_events", "pf_emulate") == (1, 0)


@pytest.mark.parametrize(("resyncs", "left"), [(True, 0), (False, 2)])
def test_a_load_of_cr3_resynchronises_the_pages_of_its_vcpu(resyncs: bool, left: int) -> None:  # noqa: FBT001
    """All of them, also those that do not lie below the new root."""
    policy = replace(XEN, knobs=replace(XEN.knobs, xen_resync_at_cr3=resyncs))
    trace = stores(*LEAVES[:2])
    trace.add(Event.CR3, value=gpa(OTHER_ROOT))

    assert gained(trace, "mmu_unsync", "oos_evictions", policy=policy) == (left, 0)


def test_the_second_zero_in_a_row_unshadows() -> None:
    """Zeros stored to a level-2 table: the second zaps its shadow page, and the third finds the page writable."""
    trace = Trace()
    for index in (100, 101, 102):
        trace.store(gpa(L2, index), 0)

    assert gained(trace, "insn_emulation", "zero_write_zaps", "mmu_shadow_zapped", "mmu_flooded") == (2, 1, 1, 0)


@pytest.mark.parametrize("between", ["value", "byte", "other table", "fault", "other vCPU"])
def test_what_comes_between_begins_the_row_anew(between: str) -> None:
    """A store of something else, of fewer than 4 bytes, to another table or by another vCPU, or another fault."""
    trace = Trace()
    trace.store(gpa(L2, 100), 0)
    if between == "value":
        trace.store(gpa(L2, 101), gpa(33) | tiny.LINK)
    elif between == "byte":
        trace.store(gpa(L2, 101), 0, width=1)
    elif between == "other table":
        trace.store(gpa(L3, 101), 0)
    elif between == "fault":
        trace.touch(tiny.direct(1000))
        trace.add(Event.GUEST_FAULT, VA)
    trace.store(gpa(L2, 102), 0, vcpu=int(between == "other vCPU"))

    assert gained(trace, "zero_write_zaps") == (0,)


def test_clear_page_unshadows_at_its_second_iteration() -> None:
    """`rep stosq` of a stale level-2 page: one exit; of its 512 iterations 510 find no shadow page."""
    trace = Trace()
    trace.store(gpa(L2), 0, instruction=Instruction.REP_STOS, count=512, access=0)

    assert gained(trace, "zero_write_zaps", "insn_emulation", "pf_taken", "mmu_pte_write") == (1, 1, 1, 512)
