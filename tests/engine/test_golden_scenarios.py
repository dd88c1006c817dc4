"""Single decisions of `kvm-3.0` and `kvm-3.3`, each with the counts that follow from the kernels' sources.

Sources: Linux 3.0.31 and 3.6.0, arch/x86/kvm/mmu.c (`kvm_mmu_pte_write`, `detect_write_flooding`,
`detect_write_misaligned`), x86.c (`retry_instruction`) and emulate.c (tags, and the 1024 iterations of a rep exit).
"""

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

GUEST: Final = Guest(vcpus=1, memory_mib=4)
ROOT, L3, A, B, L1, OTHER_L1 = 24, 32, 33, 34, 35, 36
VA_A: Final = 0x400000
VA_B: Final = 0x400000 + (1 << 30)
OLD, NEW = "kvm-3.0", "kvm-3.3"
BOTH = pytest.mark.parametrize("policy", [OLD, NEW])


def shadowed() -> Trace:
    """Return a trace after which A and B are shadowed at level 2 and L1 at level 1, and ROOT is loaded."""
    trace = Trace()
    trace.kernel(pages=GUEST.pages)
    trace.root(ROOT)
    for table, level in ((L3, 3), (A, 2), (B, 2), (L1, 1), (OTHER_L1, 1)):
        trace.link(table, level)
    trace.content(ROOT, 0, gpa(L3) | tiny.LINK)
    trace.content(L3, 0, gpa(A) | tiny.LINK)
    trace.content(L3, 1, gpa(B) | tiny.LINK)
    trace.content(A, 2, gpa(L1) | tiny.LINK)
    trace.content(B, 2, gpa(OTHER_L1) | tiny.LINK)
    for table in (L1, OTHER_L1):
        trace.content(table, 0, gpa(48) | tiny.DATA)
    trace.add(Event.CR3, value=gpa(ROOT))
    # The direct map's entries of these pages are there before the stores that count.
    for table in (A, B, L1):
        trace.touch(tiny.direct(table))
    trace.touch(VA_A, Access.READ | Access.USER)
    trace.touch(VA_B, Access.READ | Access.USER)
    return trace


def gained(before: Trace, after: Trace, policy: Policy) -> dict[str, int]:
    """Return what the events of `after` add to the counters, by the reference and, equally, by a lane."""
    reference, lanes = ReferenceMmu(policy, GUEST), LaneMachine([policy], GUEST)
    reference.feed(before.events())
    lanes.feed(before.events())
    start = reference.counters()
    assert lanes.counters()[0].tolist() == start.tolist()
    reference.feed(after.events())
    lanes.feed(after.events())
    assert lanes.counters()[0].tolist() == reference.counters().tolist()
    return dict(zip(COUNTER_NAMES, (reference.counters() - start).tolist(), strict=True))


def of(counts: dict[str, int], *names: str) -> tuple[int, ...]:
    """Return some counters."""
    return tuple(counts[name] for name in names)


def cleared(instruction: Instruction, *, width: int, count: int) -> Trace:
    """Return a clear of A, which is a table no more."""
    trace = Trace()
    trace.store(gpa(A), 0, instruction=instruction, width=width, count=count, access=0)
    return trace


EXITS: Final = ("pf_taken", "insn_emulation", "mmu_pte_write", "mmu_flooded", "mmu_shadow_zapped", "write_upgrades")


def test_clear_by_quadwords_is_emulated_in_full_by_3_0() -> None:
    """`rep stosq` of a stale level-2 page: one exit, 512 trapped stores, the third floods; 509 find no shadow page."""
    counts = gained(shadowed(), cleared(Instruction.REP_STOS, width=8, count=512), POLICIES[OLD])

    assert of(counts, *EXITS) == (1, 1, 512, 1, 1, 0)
    assert of(counts, "flood_zaps", "rep_iterations") == (1, 512)


@pytest.mark.parametrize(("width", "count"), [(8, 512), (1, 4096)])
def test_clear_by_string_store_is_retried_by_3_3(width: int, count: int) -> None:
    """Either `rep stos` of a stale level-2 page: one exit that zaps and retries, one that makes the page writable."""
    counts = gained(shadowed(), cleared(Instruction.REP_STOS, width=width, count=count), POLICIES[NEW])

    assert of(counts, *EXITS) == (2, 1, 0, 0, 1, 1)


def test_clear_by_bytes_is_emulated_1024_at_a_time_by_3_0() -> None:
    """`rep stosb` of a stale level-2 page: the first of 1024 iterations zaps as misaligned; a second exit fixes."""
    counts = gained(shadowed(), cleared(Instruction.REP_STOS, width=1, count=4096), POLICIES[OLD])

    assert of(counts, *EXITS) == (2, 1, 1024, 1, 1, 1)
    assert of(counts, "misaligned_zaps", "rep_iterations") == (1, 1024)


@BOTH
def test_clear_by_movs_floods_at_the_third(policy: str) -> None:
    """A loop of 8-byte movs over a stale level-2 page: three emulations, the third floods, then one exit that fixes."""
    counts = gained(shadowed(), cleared(Instruction.MOV, width=8, count=512), POLICIES[policy])

    assert of(counts, *EXITS) == (4, 3, 3, 1, 1, 1)


@pytest.mark.parametrize(("policy", "expected"), [(OLD, (10, 10, 10, 0, 0, 0)), (NEW, (8, 6, 6, 2, 2, 2))])
def test_two_tables_in_turn_flood_by_page_only(policy: str, expected: tuple[int, ...]) -> None:
    """Two level-2 pages written in turn: 3.0 starts its count anew at each, 3.3 floods each at its third store."""
    trace = Trace()
    for index in range(100, 105):
        trace.store(gpa(A, index))
        trace.store(gpa(B, index))

    assert of(gained(shadowed(), trace, POLICIES[policy]), *EXITS) == expected


@BOTH
@pytest.mark.parametrize("instruction", [Instruction.MOV, Instruction.REP_STOS, Instruction.LOCK_BTR])
def test_level_1_goes_out_of_sync(policy: str, instruction: Instruction) -> None:
    """Any store to a page shadowed only at level 1 exits once, puts it out of sync, and later stores are native."""
    trace = Trace()
    trace.store(gpa(L1, 8), 0, instruction=instruction, count=100)
    trace.store(gpa(L1, 300), 0)

    counts = gained(shadowed(), trace, POLICIES[policy])

    assert of(counts, *EXITS) == (1, 0, 0, 0, 0, 1)
    assert of(counts, "unsync_events", "mmu_unsync") == (1, 1)


@BOTH
def test_new_link_is_emulated(policy: str) -> None:
    """An entry put into a live level-2 table: one emulation, counted as a pde; the next access links the page below."""
    trace = Trace()
    trace.store(gpa(A, 3), gpa(OTHER_L1) | tiny.LINK)
    trace.touch(VA_A + (1 << 21), Access.READ | Access.USER)

    counts = gained(shadowed(), trace, POLICIES[policy])

    assert of(counts, *EXITS) == (2, 1, 1, 0, 0, 0)
    assert of(counts, "mmu_pde_zapped", "pf_fixed", "mmu_cache_miss", "sptes_installed") == (1, 1, 0, 0)


@BOTH
@pytest.mark.parametrize(("stores", "emulated", "zapped"), [(1, 1, 0), (2, 2, 0), (3, 3, 1), (9, 3, 1)])
def test_exit_floods_at_the_third_clear(policy: str, stores: int, emulated: int, zapped: int) -> None:
    """Of k clears in one level-2 table (exit) min(k, 3) are emulated, the third zaps, the fourth exits to be fixed."""
    trace = Trace()
    for index in range(stores):
        trace.store(gpa(A, index))

    counts = gained(shadowed(), trace, POLICIES[policy])

    assert of(counts, "insn_emulation", "mmu_flooded", "write_upgrades") == (emulated, zapped, int(stores > 3))


@pytest.mark.parametrize(("policy", "zapped"), [(OLD, 1), (NEW, 0)])
def test_one_byte_at_an_entry_zaps_before_3_3_only(policy: str, zapped: int) -> None:
    """`lock andb` of an entry's low byte (fork): 3.0 zaps the whole page as misaligned, 3.3 drops one spte."""
    trace = Trace()
    trace.store(gpa(A, 2), gpa(L1) | tiny.LINK & ~x86.WRITABLE, instruction=Instruction.LOCK_AND, width=1)

    counts = gained(shadowed(), trace, POLICIES[policy])

    assert of(counts, "insn_emulation", "misaligned_zaps", "mmu_shadow_zapped") == (1, zapped, zapped)


def test_one_byte_counts_towards_flooding() -> None:
    """In 3.3 the third `lock andb` to a level-2 page floods it."""
    trace = Trace()
    for index in range(3):
        trace.store(gpa(A, index), 0, instruction=Instruction.LOCK_AND, width=1)

    assert of(gained(shadowed(), trace, POLICIES[NEW]), "mmu_pte_write", "flood_zaps") == (3, 1)


@pytest.mark.parametrize(("policy", "expected"), [(OLD, (1, 1, 1, 0, 0, 0)), (NEW, (2, 1, 0, 0, 1, 1))])
def test_bit_reset_is_no_page_table_write_since_3_3(policy: str, expected: tuple[int, ...]) -> None:
    """`lock btr` of an accessed bit in a level-2 page: emulated by 3.0; untagged, so zapped and retried by 3.3."""
    trace = Trace()
    trace.store(gpa(A, 2), gpa(L1) | tiny.LINK & ~x86.ACCESSED, instruction=Instruction.LOCK_BTR, width=4)

    assert of(gained(shadowed(), trace, POLICIES[policy]), *EXITS) == expected


@pytest.mark.parametrize(("policy", "used", "flooded"), [(OLD, True, 0), (OLD, False, 1), (NEW, True, 1)])
def test_a_used_speculative_spte_hides_a_flood_from_3_0(policy: str, *, used: bool, flooded: int) -> None:
    """If the last speculative spte, of any page, was used, 3.0 counts from 1 again; 3.3 looks at no spte."""
    before = shadowed()
    before.store(gpa(L1, 8), gpa(49) | tiny.DATA)
    trace = Trace()
    trace.store(gpa(A, 100))
    # INVLPG renews the spte of an out-of-sync page speculatively, and the touch of it is no fault.
    trace.add(Event.INVLPG, VA_A)
    if used:
        trace.touch(VA_A, Access.READ | Access.USER)
    trace.store(gpa(A, 101))
    trace.store(gpa(A, 102))

    counts = gained(before, trace, POLICIES[policy])

    assert of(counts, "insn_emulation", "flood_zaps", "pf_taken") == (3, flooded, 3)


@pytest.mark.parametrize(("policy", "expected"), [(OLD, (3, 3, 3, 1, 1, 0)), (NEW, (3, 3, 3, 0, 0, 0))])
def test_level_1_floods_before_3_3_only(policy: str, expected: tuple[int, ...]) -> None:
    """Without unsync, three stores to a level-1 page: 3.0 zaps it at the third, 3.3 emulates each for ever."""
    trace = Trace()
    for index in range(100, 103):
        trace.store(gpa(L1, index))

    counts = gained(shadowed(), trace, POLICIES[policy].override("no-unsync", {"unsync": False}))

    assert of(counts, *EXITS) == expected
