"""Roots in lanes: CR3 loads, flushes, INVLPG, and what an exit leaves to be done before the guest runs again."""

import numpy as np

from engine.jit import array_kernel as kernel
from engine.lanes.bits import ZERO, bit, lowest
from engine.lanes.counting import (
    C_CR3_LOADS,
    C_EXITS,
    C_LOCK_ACQUISITIONS,
    C_MMU_SHADOW_ZAPPED,
    C_TLB_FLUSH,
    count,
)
from engine.lanes.descs import top_up
from engine.lanes.memory import ACC_ALL, ROOT_LEVEL
from engine.lanes.pages import forget_updated, make_pages_available, set_used
from engine.lanes.rmap import clear_count
from engine.lanes.slots import find_slot, key_of
from engine.lanes.state import (
    CACHED_ROOTS,
    L_CACHED_ROOTS,
    L_FREED,
    NONE,
    R_CR3,
    R_SLOT,
    RM_FLUSH,
    RM_FLUSH_CURRENT,
    RM_VALID,
    RM_ZAPPED,
    S_VCPUS,
    S_WORK,
    SM_FLUSH,
    SM_OBSOLETE,
    V_ROOTS,
    Lanes,
)
from engine.lanes.sync import get_page, sync_children
from engine.lanes.tree import collect_unsync


@kernel
def flush_local(st: Lanes, lanes: np.uint64) -> None:
    """Serve the flushes that an exit asked for; those of one exit are one flush."""
    if not st.scalar_masks[SM_FLUSH] & lanes:
        return
    st.scalar_masks[SM_FLUSH] &= ~lanes
    for vcpu in range(st.scalars[S_VCPUS]):
        count(st, C_TLB_FLUSH, (st.root_masks[vcpu, RM_FLUSH] | st.root_masks[vcpu, RM_FLUSH_CURRENT]) & lanes)
        st.root_masks[vcpu, RM_FLUSH] &= ~lanes
        st.root_masks[vcpu, RM_FLUSH_CURRENT] &= ~lanes


@kernel
def _sync_root(st: Lanes, vcpu: int, lanes: np.uint64) -> None:
    """Synchronise everything below the current root, under the lock if there is something (kvm_mmu_sync_roots)."""
    lanes &= st.root_masks[vcpu, RM_VALID]
    if lanes:
        count(st, C_LOCK_ACQUISITIONS, sync_children(st, st.roots[vcpu, R_SLOT], lanes))


@kernel
def load_root(st: Lanes, vcpu: int, lanes: np.uint64) -> None:
    """Give a vCPU a root for its CR3 and synchronise it (kvm_mmu_load)."""
    top_up(st, vcpu, lanes)
    count(st, C_LOCK_ACQUISITIONS, lanes)
    make_pages_available(st, lanes)
    st.roots[vcpu, R_SLOT] = get_page(st, st.roots[vcpu, R_CR3], key_of(ROOT_LEVEL, 0, ACC_ALL), lanes)
    st.root_masks[vcpu, RM_VALID] |= lanes
    _sync_root(st, vcpu, lanes)


@kernel
def _release_zapped(st: Lanes, lane: int) -> None:
    """Drop all references of a lane to roots that were zapped; each root is freed once and counted once more."""
    one = bit(lane)
    begin = st.scalars[S_WORK]
    end = begin
    for vcpu in range(st.scalars[S_VCPUS]):
        for place in range(V_ROOTS, V_ROOTS + CACHED_ROOTS + 1):
            if place == V_ROOTS + CACHED_ROOTS:
                slot = st.roots[vcpu, R_SLOT] if st.root_masks[vcpu, RM_ZAPPED] & one else NONE
                st.root_masks[vcpu, RM_ZAPPED] &= ~one
            elif st.vcpu[vcpu, place, lane] < NONE:
                slot = -2 - st.vcpu[vcpu, place, lane]
                st.vcpu[vcpu, place, lane] = NONE
            else:
                slot = NONE
            known = slot == NONE
            for item in range(begin, end):
                known |= st.work[item] == slot
            if not known:
                st.work[end] = slot
                end += 1
                count(st, C_MMU_SHADOW_ZAPPED, one)
                set_used(st, lane, -1)
                st.lane[L_FREED, lane] += 1
    forget_updated(st, one)


@kernel
def finish_exit(st: Lanes, lanes: np.uint64) -> None:
    """Replace roots that were zapped, then serve pending flushes (vcpu_enter_guest)."""
    while st.scalar_masks[SM_OBSOLETE] & lanes:
        obsolete = st.scalar_masks[SM_OBSOLETE] & lanes
        st.scalar_masks[SM_OBSOLETE] &= ~obsolete
        rest = obsolete
        while rest:
            lane = lowest(rest)
            rest &= ~bit(lane)
            _release_zapped(st, lane)
        for vcpu in range(st.scalars[S_VCPUS]):
            missing = obsolete & ~st.root_masks[vcpu, RM_VALID]
            if missing and st.roots[vcpu, R_CR3] != NONE:
                load_root(st, vcpu, missing)
    flush_local(st, lanes)


@kernel
def load_cr3(st: Lanes, vcpu: int, gfn: int, lanes: np.uint64) -> None:
    """Serve a guest load of CR3 (kvm_set_cr3, kvm_mmu_new_pgd)."""
    count(st, C_EXITS, lanes)
    count(st, C_CR3_LOADS, lanes)
    st.root_masks[vcpu, RM_FLUSH_CURRENT] |= lanes
    st.scalar_masks[SM_FLUSH] |= lanes
    if st.roots[vcpu, R_CR3] == gfn:
        _sync_root(st, vcpu, lanes)
        finish_exit(st, lanes)
        return
    root = find_slot(st, gfn, key_of(ROOT_LEVEL, 0, ACC_ALL))
    hit = ZERO
    rest = lanes
    while rest:
        lane = lowest(rest)
        rest &= ~bit(lane)
        if _rotate_roots(st, vcpu, lane, root):
            hit |= bit(lane)
    st.roots[vcpu, R_CR3] = gfn
    st.root_masks[vcpu, RM_VALID] &= ~(lanes & ~hit)
    if hit:
        st.roots[vcpu, R_SLOT] = root
        clear_count(st, root, hit)
        _sync_root(st, vcpu, hit)
    miss = lanes & ~hit
    if miss:
        flush_local(st, miss)
        load_root(st, vcpu, miss)
    finish_exit(st, lanes)


@kernel
def _rotate_roots(st: Lanes, vcpu: int, lane: int, root: int) -> bool:
    """Rotate the current root into the cache and `root`, if it is cached, out of it (fast_pgd_switch)."""
    moving = NONE
    if st.root_masks[vcpu, RM_VALID] & bit(lane):
        moving = st.roots[vcpu, R_SLOT]
    for place in range(V_ROOTS, V_ROOTS + st.lane[L_CACHED_ROOTS, lane]):
        taken = st.vcpu[vcpu, place, lane]
        st.vcpu[vcpu, place, lane] = moving
        moving = taken
        if root != NONE and taken == root:
            return True
    return False


@kernel
def flush_all(st: Lanes, vcpu: int, lanes: np.uint64) -> None:
    """Serve a guest's flush of all translations; frees cached roots with stale leaves (kvm_vcpu_flush_tlb_guest)."""
    count(st, C_EXITS, lanes)
    if st.roots[vcpu, R_CR3] != NONE:
        count(st, C_TLB_FLUSH, lanes)
        _sync_root(st, vcpu, lanes)
        for place in range(V_ROOTS, V_ROOTS + CACHED_ROOTS):
            rest = lanes
            while rest:
                lane = lowest(rest)
                rest &= ~bit(lane)
                slot = st.vcpu[vcpu, place, lane]
                if slot > NONE and _has_unsync(st, slot, bit(lane)):
                    st.vcpu[vcpu, place, lane] = NONE
    finish_exit(st, lanes)


@kernel
def _has_unsync(st: Lanes, slot: int, lanes: np.uint64) -> bool:
    begin = collect_unsync(st, slot, lanes, False)
    found = st.scalars[S_WORK] > begin
    st.scalars[S_WORK] = begin
    return found
