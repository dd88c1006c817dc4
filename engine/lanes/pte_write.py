"""Trapped stores in lanes: what KVM does to the shadows of a written guest table, once or for a whole rep store."""

from typing import Final, NamedTuple

import numpy as np

from engine.detectors.flooding import flooding_lanes, repeating_lanes
from engine.detectors.misaligned import misaligned_lanes
from engine.jit import array_kernel as kernel
from engine.lanes.bits import ZERO, bit, lowest
from engine.lanes.counting import (
    C_DEAD_TABLE_WRITES,
    C_FLOOD_ZAPS,
    C_LOCK_ACQUISITIONS,
    C_MISALIGNED_ZAPS,
    C_MMU_FLOODED,
    C_MMU_PDE_ZAPPED,
    C_MMU_PTE_UPDATED,
    C_MMU_PTE_WRITE,
    C_PAGE_WALKS,
    C_PREFETCH_SKIPPED,
    count,
    count_amount,
)
from engine.lanes.descs import top_up
from engine.lanes.memory import G_ACCESSED, G_PRESENT, read
from engine.lanes.pages import flush_remote, make_pages_available, zap
from engine.lanes.rmap import drop, is_leaf_slot
from engine.lanes.slots import is_direct, walk_chain
from engine.lanes.sptes import prefetch_gpte
from engine.lanes.state import (
    FIRST_SLOT,
    K_FLOOD_ON,
    K_LEVEL1,
    K_ORACLE,
    K_RECYCLE_IN_WRITE,
    K_SCOPE_VCPU,
    K_TOPUP_IN_WRITE,
    K_UPDATE,
    NONE,
    PRESENT,
    SHADOWED,
    SIBLING,
    SM_INDIRECT,
    V_DESC,
    Lanes,
)

SETTLED: Final = 3
"""Stores to one gfn after which the 2011 detector, if nothing else happens, counts each further one."""


class Store(NamedTuple):
    """A guest store: `count` operands of `width` bytes from `gpa` on, each leaving `value` in its entry."""

    gva: np.uint64
    gpa: int
    value: np.uint64
    width: int
    count: int
    instruction: int
    live: bool


@kernel
def iterate(st: Lanes, vcpu: int, op: Store, done: int, operands: int, lanes: np.uint64) -> None:
    """Emulate iterations of a rep store one by one, and at one go those that no detector looks at any more."""
    settled = 0
    for k in range(done, done + operands):
        if k > done:
            plain = _plain_lanes(st, op, lanes, settled > SETTLED)
            if plain:
                _iterate_plain(st, vcpu, op, k, done + operands, plain)
                lanes &= ~plain
        if not lanes:
            return
        count(st, C_PAGE_WALKS, lanes)
        pte_write(st, vcpu, op.gpa + k * op.width, op.width, lanes, op.live, True)
        settled = 0 if _shadowed(st, op.gpa >> 12) & lanes & st.knobs[K_SCOPE_VCPU] else settled + 1


@kernel
def _shadowed(st: Lanes, gfn: int) -> np.uint64:
    """Return the lanes that have an indirect shadow page of a gfn."""
    lanes = ZERO
    slot = np.int64(st.frames[gfn, FIRST_SLOT])
    while slot != NONE:
        if not is_direct(st, slot):
            lanes |= st.masks[slot, SHADOWED]
        slot = st.pages[slot, SIBLING]
    return lanes


@kernel
def _plain_lanes(st: Lanes, op: Store, lanes: np.uint64, settled: bool) -> np.uint64:
    """Return the lanes in which further iterations drop entries at the most: nothing is counted towards a zap."""
    shadowed = upper = ZERO
    slot = np.int64(st.frames[op.gpa >> 12, FIRST_SLOT])
    while slot != NONE:
        if not is_direct(st, slot):
            shadowed |= st.masks[slot, SHADOWED]
            if not is_leaf_slot(st, slot):
                upper |= st.masks[slot, SHADOWED]
        slot = st.pages[slot, SIBLING]
    watched = st.knobs[K_FLOOD_ON] & ~st.knobs[K_ORACLE] & (upper | st.knobs[K_LEVEL1])
    watched |= misaligned_lanes(st, op.gpa & 4095, op.width) | misaligned_lanes(st, (op.gpa & 4095) + 1, op.width)
    plain = lanes & ~(shadowed & watched)
    if op.value:
        plain &= ~shadowed
    if not settled:
        plain &= ~st.knobs[K_SCOPE_VCPU]
    return plain & ~(st.knobs[K_SCOPE_VCPU] & shadowed)


@kernel
def _iterate_plain(st: Lanes, vcpu: int, op: Store, begin: int, end: int, lanes: np.uint64) -> None:
    """Carry out iterations `begin` to `end` that may only drop entries."""
    times = end - begin
    count_amount(st, C_PAGE_WALKS, lanes, times)
    lanes &= st.scalar_masks[SM_INDIRECT]
    count_amount(st, C_LOCK_ACQUISITIONS, lanes, times)
    count_amount(st, C_MMU_PTE_WRITE, lanes, times)
    if not op.live:
        count_amount(st, C_DEAD_TABLE_WRITES, lanes, times)
    gfn = op.gpa >> 12
    walk_chain(st, gfn, lanes, times)
    repeating_lanes(st, vcpu, gfn, lanes, times)
    if not _shadowed(st, gfn) & lanes:
        return
    first = ((op.gpa & 4095) + begin * op.width) >> 3
    last = ((op.gpa & 4095) + end * op.width - 1) >> 3
    for index in range(first, last + 1):
        dropped = ZERO
        slot = np.int64(st.frames[gfn, FIRST_SLOT])
        while slot != NONE:
            present = st.sptes[slot, index, PRESENT] & lanes
            if present and not is_direct(st, slot):
                drop(st, slot, index, present)
                dropped |= present
            slot = st.pages[slot, SIBLING]
        flush_remote(st, dropped)


@kernel
def pte_write(st: Lanes, vcpu: int, gpa: int, width: int, lanes: np.uint64, live: bool, by_guest: bool) -> None:
    """Bring the shadows of a stored entry in line, or give them up (kvm_mmu_pte_write)."""
    lanes &= st.scalar_masks[SM_INDIRECT]
    if not lanes:
        return
    top_up(st, vcpu, lanes & st.knobs[K_TOPUP_IN_WRITE])
    count(st, C_LOCK_ACQUISITIONS, lanes)
    make_pages_available(st, lanes & st.knobs[K_RECYCLE_IN_WRITE])
    count(st, C_MMU_PTE_WRITE, lanes)
    if not live:
        count(st, C_DEAD_TABLE_WRITES, lanes)
    if width == 4:
        gpa, width = gpa & ~7, 8
    gfn, offset = gpa >> 12, gpa & 4095
    gentry = read(st, gfn, offset >> 3) if width == 8 else ZERO
    repeats = repeating_lanes(st, vcpu, gfn, lanes, 1) if by_guest else ZERO
    walk_chain(st, gfn, lanes, 1)
    misaligned = misaligned_lanes(st, offset, width) & lanes
    flush = ZERO
    slot = np.int64(st.frames[gfn, FIRST_SLOT])
    while slot != NONE:
        shadowed = st.masks[slot, SHADOWED] & lanes
        if shadowed and not is_direct(st, slot):
            flush |= _write_page(st, vcpu, slot, offset >> 3, shadowed, misaligned, repeats, by_guest, gentry)
        slot = st.pages[slot, SIBLING]
    flush_remote(st, flush)


@kernel
def _write_page(
    st: Lanes,
    vcpu: int,
    slot: int,
    index: int,
    shadowed: np.uint64,
    misaligned: np.uint64,
    repeats: np.uint64,
    by_guest: bool,
    gentry: np.uint64,
) -> np.uint64:
    """Zap a written shadow page or update its entry; return the lanes that must flush."""
    bad = shadowed & misaligned
    if bad:
        count(st, C_MISALIGNED_ZAPS, bad)
        count(st, C_MMU_FLOODED, bad)
        zap(st, slot, bad)
    rest = shadowed & ~bad
    flooded = ZERO
    if by_guest and rest:
        flooded = rest & repeats & ~st.knobs[K_ORACLE]
        if is_leaf_slot(st, slot):
            flooded &= st.knobs[K_LEVEL1]
        flooded |= flooding_lanes(st, slot, index, rest)
        if flooded:
            count(st, C_FLOOD_ZAPS, flooded)
            count(st, C_MMU_FLOODED, flooded)
            zap(st, slot, flooded)
            rest &= ~flooded
    present = st.sptes[slot, index, PRESENT] & rest
    if present:
        drop(st, slot, index, present)
    if gentry and rest:
        if not is_leaf_slot(st, slot):
            count(st, C_MMU_PDE_ZAPPED, rest)
        elif rest & st.knobs[K_UPDATE]:
            _update(st, vcpu, slot, index, rest & st.knobs[K_UPDATE], gentry)
    return bad | flooded | present


@kernel
def _update(st: Lanes, vcpu: int, slot: int, index: int, lanes: np.uint64, gentry: np.uint64) -> None:
    """Install the written spte anew, unless the policy checks the pte_list_desc cache and it is empty."""
    count(st, C_MMU_PTE_UPDATED, lanes)
    skipped, rest = ZERO, lanes & st.knobs[K_TOPUP_IN_WRITE]
    while rest:
        lane = lowest(rest)
        rest &= ~bit(lane)
        if not st.vcpu[vcpu, V_DESC, lane]:
            skipped |= bit(lane)
    if lanes & ~skipped:
        prefetch_gpte(st, vcpu, slot, index, lanes & ~skipped)
    if gentry & G_PRESENT and gentry & G_ACCESSED:
        count(st, C_PREFETCH_SKIPPED, skipped)
