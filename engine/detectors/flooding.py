"""Zap a shadow page that the guest writes again and again without using it.

Three scopes, by the knob `flood_scope`:

* `page` (Linux 3.3 and later, `detect_write_flooding`): each shadow page counts its stores; a look-up or a fault
  through the page clears the count.
* `vcpu` (Linux 3.0, `kvm_mmu_pte_write`): each vCPU counts stores in a row to one gfn. A store does not count as a
  repeat if the last spte that was installed speculatively, wherever it is, was accessed meanwhile.
* `spte` (first version of the 2011 series; the formula is an assumption, its cover letter gives only the idea): each
  shadow page counts stores whose own spte was not accessed; an accessed one clears the count.
"""

from typing import TYPE_CHECKING

import numpy as np

from engine.jit import array_kernel as kernel
from engine.lanes.bits import ZERO, add_one, bit, clear_lanes, lane_value, lowest, not_below
from engine.lanes.state import (
    ACCESSED,
    FLOOD,
    FLOOD_PLANES,
    FLOODING,
    K_ACCESSED_EXCEPTION,
    K_FLOOD_ON,
    K_LEVEL1,
    K_ORACLE,
    K_SCOPE_SPTE,
    K_SCOPE_VCPU,
    K_THRESHOLD,
    KEY,
    LARGE,
    PRESENT,
    R_UPDATED_GFN,
    R_UPDATED_SPTE,
    RM_COUNT_RESET,
    RM_UPDATED,
    RM_UPDATED_OWN,
    V_UPDATED_GFN,
    V_UPDATED_SPTE,
    V_WRITE_COUNT,
    V_WRITE_GFN,
    Lanes,
)

if TYPE_CHECKING:
    from engine.reference.state import ShadowPage, Spte, Vcpu


def repeats_on_vcpu(vcpu: "Vcpu", gfn: int, *, accessed_exception: bool) -> bool:
    """Advance the vCPU's detector by a store to `gfn`; return whether it repeats the last one."""
    last = None if vcpu.last_updated is None else vcpu.last_updated[0].sptes.get(vcpu.last_updated[1])
    if last is not None and not last.accessed and vcpu.last_updated_gfn == gfn:
        last.accessed = True
    if gfn == vcpu.last_write_gfn and not (accessed_exception and last is not None and last.accessed):
        vcpu.last_write_count += 1
        return True
    vcpu.last_write_gfn, vcpu.last_write_count, vcpu.last_updated = gfn, 1, None
    return False


def floods_page(page: "ShadowPage", *, threshold: int, level1: bool) -> bool:
    """Count a store to a shadow page; return whether it floods."""
    if not threshold or (page.role.level == 1 and not level1):
        return False
    page.write_flooding_count += 1
    return page.write_flooding_count >= threshold


def floods_spte(page: "ShadowPage", spte: "Spte | None", *, threshold: int, level1: bool) -> bool:
    """Count a store to an entry whose spte was not accessed (a link always was); return whether the page floods."""
    if not threshold or (page.role.level == 1 and not level1):
        return False
    if spte is not None and (spte.accessed or spte.child is not None):
        page.write_flooding_count = 0
        return False
    page.write_flooding_count += 1
    return page.write_flooding_count >= threshold


@kernel
def repeating_lanes(st: Lanes, vcpu: int, gfn: int, lanes: np.uint64, times: int) -> np.uint64:
    """Advance the vCPU's detector by a store; return the lanes in which it repeats the last one often enough.

    `times` > 1 stands for so many further stores to the same gfn once the detector counts each of them.
    """
    flooded = ZERO
    rest = lanes & st.knobs[K_SCOPE_VCPU]
    while rest:
        lane = lowest(rest)
        one = bit(lane)
        rest &= ~one
        if st.root_masks[vcpu, RM_COUNT_RESET] & one:
            st.vcpu[vcpu, V_WRITE_COUNT, lane] = 0
        used = _updated_was_used(st, vcpu, lane, gfn)
        if st.vcpu[vcpu, V_WRITE_GFN, lane] == gfn and not (used and st.knobs[K_ACCESSED_EXCEPTION] & one):
            st.vcpu[vcpu, V_WRITE_COUNT, lane] += times
            if st.knobs[K_FLOOD_ON] & one and st.vcpu[vcpu, V_WRITE_COUNT, lane] >= threshold_of(st, lane):
                flooded |= one
        else:
            st.vcpu[vcpu, V_WRITE_GFN, lane] = gfn
            st.vcpu[vcpu, V_WRITE_COUNT, lane] = 1
            st.root_masks[vcpu, RM_UPDATED] &= ~one
            st.root_masks[vcpu, RM_UPDATED_OWN] &= ~one
    st.root_masks[vcpu, RM_COUNT_RESET] &= ~lanes
    return flooded


@kernel
def _updated_was_used(st: Lanes, vcpu: int, lane: int, gfn: int) -> bool:
    """Return whether the last speculative spte was accessed; a store to the frame that it maps accesses it."""
    one = bit(lane)
    if st.root_masks[vcpu, RM_UPDATED] & one:
        spte, mapped = st.roots[vcpu, R_UPDATED_SPTE], st.roots[vcpu, R_UPDATED_GFN]
    elif st.root_masks[vcpu, RM_UPDATED_OWN] & one:
        spte, mapped = st.vcpu[vcpu, V_UPDATED_SPTE, lane], st.vcpu[vcpu, V_UPDATED_GFN, lane]
    else:
        return False
    if not st.sptes[spte >> 9, spte & 511, PRESENT] & one:
        return False
    if mapped == gfn:
        st.sptes[spte >> 9, spte & 511, ACCESSED] |= one
    return st.sptes[spte >> 9, spte & 511, ACCESSED] & one != ZERO


@kernel
def threshold_of(st: Lanes, lane: int) -> int:
    """Return the flood threshold of a lane."""
    return lane_value(st.knobs[K_THRESHOLD : K_THRESHOLD + FLOOD_PLANES], lane)


@kernel
def flooding_lanes(st: Lanes, slot: int, index: int, lanes: np.uint64) -> np.uint64:
    """Count a store in the lanes whose shadow pages count; return those in which the page floods."""
    counts = st.masks[slot, FLOOD : FLOOD + FLOOD_PLANES]
    counting = lanes & st.knobs[K_FLOOD_ON] & ~st.knobs[K_SCOPE_VCPU] & ~st.knobs[K_ORACLE]
    if st.pages[slot, KEY] >> 4 == 1:
        counting &= st.knobs[K_LEVEL1]
        used = st.sptes[slot, index, ACCESSED]
    else:
        links = st.sptes[slot, index, PRESENT] & ~st.sptes[slot, index, LARGE]
        used = links | st.sptes[slot, index, ACCESSED]
    spared = counting & st.knobs[K_SCOPE_SPTE] & used
    if spared:
        clear_lanes(counts, spared)
        st.masks[slot, FLOODING] &= ~spared
        counting &= ~spared
    if not counting:
        return ZERO
    add_one(counts, counting)
    st.masks[slot, FLOODING] |= counting
    return counting & not_below(counts, st.knobs[K_THRESHOLD : K_THRESHOLD + FLOOD_PLANES])
