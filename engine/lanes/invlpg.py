"""INVLPG and injected faults in lanes: renew the spte of one address in out-of-sync pages."""

import numpy as np

from engine.jit import array_kernel as kernel
from engine.lanes.bits import ZERO, bit, lowest
from engine.lanes.counting import (
    C_EXITS,
    C_INVLPG,
    C_LOCK_ACQUISITIONS,
    C_PAGE_WALKS,
    C_PF_GUEST,
    C_PF_TAKEN,
    C_PREFETCH_SKIPPED,
    count,
)
from engine.lanes.descs import top_up
from engine.lanes.faults import reset_counts
from engine.lanes.memory import ROOT_LEVEL, index_of, is_mapped
from engine.lanes.pages import flush_remote
from engine.lanes.pte_write import pte_write
from engine.lanes.rmap import drop, lanes_to, large_lanes, link_target
from engine.lanes.roots import finish_exit
from engine.lanes.sptes import prefetch_gpte
from engine.lanes.state import (
    CACHED_ROOTS,
    GFN,
    K_INVLPG_3_0,
    K_INVLPG_6_1,
    NONE,
    PRESENT,
    R_SLOT,
    RM_VALID,
    SMALL,
    UNSYNC,
    V_DESC,
    V_ROOTS,
    Lanes,
)


@kernel
def invalidate_page(st: Lanes, vcpu: int, gva: np.uint64, lanes: np.uint64) -> None:
    """Serve INVLPG (FNAME(invlpg)): in the current root and, since the cached roots exist, in these as well."""
    count(st, C_EXITS, lanes)
    count(st, C_INVLPG, lanes)
    top_up(st, vcpu, lanes)
    valid = st.root_masks[vcpu, RM_VALID] & lanes
    if valid:
        count(st, C_LOCK_ACQUISITIONS, valid)
        _invalidate_in_root(st, vcpu, st.roots[vcpu, R_SLOT], gva, valid)
    for place in range(V_ROOTS, V_ROOTS + CACHED_ROOTS):
        rest = lanes & st.knobs[K_INVLPG_6_1]
        while rest:
            slot = st.vcpu[vcpu, place, lowest(rest)]
            same, others = ZERO, rest
            while others:
                lane = lowest(others)
                others &= ~bit(lane)
                if st.vcpu[vcpu, place, lane] == slot:
                    same |= bit(lane)
            rest &= ~same
            if slot > NONE:
                count(st, C_LOCK_ACQUISITIONS, same)
                _invalidate_in_root(st, vcpu, slot, gva, same)
    finish_exit(st, lanes)


@kernel
def inject_fault(st: Lanes, vcpu: int, gva: np.uint64, lanes: np.uint64) -> None:
    """Serve a fault that the guest's own tables cause (kvm_inject_emulated_page_fault)."""
    count(st, C_EXITS, lanes)
    count(st, C_PF_TAKEN, lanes)
    count(st, C_PF_GUEST, lanes)
    count(st, C_PAGE_WALKS, lanes)
    reset_counts(st, vcpu, lanes)
    renewing = lanes & st.knobs[K_INVLPG_6_1] & st.root_masks[vcpu, RM_VALID]
    if renewing and is_mapped(st, vcpu, gva):
        top_up(st, vcpu, renewing)
        count(st, C_LOCK_ACQUISITIONS, renewing)
        _invalidate_in_root(st, vcpu, st.roots[vcpu, R_SLOT], gva, renewing)
        finish_exit(st, lanes)


@kernel
def _invalidate_in_root(st: Lanes, vcpu: int, root: int, gva: np.uint64, lanes: np.uint64) -> None:
    rest = lanes
    while rest:
        same, slot, level = rest, root, ROOT_LEVEL
        while True:
            index = index_of(gva, level)
            if level == 1:
                stale = same & st.masks[slot, UNSYNC]
                if stale:
                    _renew_spte(st, vcpu, slot, index, stale)
                rest &= ~same
                break
            linked = same & st.sptes[slot, index, PRESENT] & ~large_lanes(st, slot, index)
            if not linked & bit(lowest(same)):
                rest &= ~(same & ~linked)
                break
            child = link_target(st, slot, index, lowest(same))
            same = linked & lanes_to(st, slot, index, child, SMALL)
            slot, level = child, level - 1


@kernel
def _renew_spte(st: Lanes, vcpu: int, slot: int, index: int, lanes: np.uint64) -> None:
    """Drop the spte of an out-of-sync page and install it anew from the guest's entry."""
    present = st.sptes[slot, index, PRESENT] & lanes
    if not present:
        return
    drop(st, slot, index, present)
    flush_remote(st, present)
    by_write = present & st.knobs[K_INVLPG_3_0]
    if by_write:
        pte_write(st, vcpu, st.pages[slot, GFN] << 12 | index << 3, 8, by_write, True, False)
    empty, rest = ZERO, present & ~by_write
    while rest:
        lane = lowest(rest)
        rest &= ~bit(lane)
        if not st.vcpu[vcpu, V_DESC, lane]:
            empty |= bit(lane)
    count(st, C_PREFETCH_SKIPPED, empty)
    filled = present & ~by_write & ~empty
    if filled:
        prefetch_gpte(st, vcpu, slot, index, filled)
