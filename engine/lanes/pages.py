"""Shadow pages in lanes: create, zap, and keep the pool."""

from typing import Final

import numpy as np

from engine.jit import array_kernel as kernel
from engine.lanes.bits import ZERO, add_one, bit, lowest, subtract_one
from engine.lanes.counting import (
    C_FLUSH_IPIS,
    C_MMU_CACHE_MISS,
    C_MMU_RECYCLED,
    C_MMU_SHADOW_ZAPPED,
    C_REMOTE_TLB_FLUSH,
    C_RESYNC,
    count,
    count_amount,
)
from engine.lanes.odd import odd_get
from engine.lanes.rmap import clear_count, drop, is_leaf_slot, lanes_to, large_lanes, write_protect
from engine.lanes.slots import bucket_of, is_direct
from engine.lanes.state import (
    BELOW_ANY,
    BUCKET_PLANES,
    CACHED_ROOTS,
    FIRST_PARENT,
    GFN,
    K_RECYCLE_SKIPS_ROOTS,
    KEY,
    L_FREED,
    L_INDIRECT,
    L_NEWEST,
    L_OLDEST,
    L_PEAK,
    L_POOL,
    L_USED,
    NEXT,
    NONE,
    OCCUPIED,
    PRESENT,
    R_SLOT,
    RM_FLUSH,
    RM_UPDATED,
    RM_UPDATED_OWN,
    RM_VALID,
    RM_ZAPPED,
    S_DEFERRED,
    S_ODD,
    S_VCPUS,
    S_WORK,
    SHADOWED,
    SM_FLUSH,
    SM_INDIRECT,
    SM_LOW,
    SM_OBSOLETE,
    SMALL,
    UNSYNC,
    V_ROOTS,
    WORK_SLOTS,
    Lanes,
)
from engine.lanes.tree import collect_unsync

MIN_FREE_PAGES: Final = 5
REFILL_PAGES: Final = 25


@kernel
def flush_remote(st: Lanes, lanes: np.uint64) -> None:
    """Make every vCPU flush its TLB before it runs the guest again (kvm_flush_remote_tlbs)."""
    if not lanes:
        return
    vcpus = st.scalars[S_VCPUS]
    st.scalar_masks[SM_FLUSH] |= lanes
    for vcpu in range(vcpus):
        st.root_masks[vcpu, RM_FLUSH] |= lanes
    if vcpus > 1:
        count(st, C_REMOTE_TLB_FLUSH, lanes)
        count_amount(st, C_FLUSH_IPIS, lanes, vcpus - 1)


@kernel
def set_used(st: Lanes, lane: int, change: int) -> None:
    """Change the number of pages that a lane's pool has in use."""
    used = st.lane[L_USED, lane] + change
    st.lane[L_USED, lane] = used
    st.lane[L_PEAK, lane] = max(st.lane[L_PEAK, lane], used)
    if st.lane[L_POOL, lane] - used < MIN_FREE_PAGES:
        st.scalar_masks[SM_LOW] |= bit(lane)
    else:
        st.scalar_masks[SM_LOW] &= ~bit(lane)


@kernel
def create(st: Lanes, slot: int, lanes: np.uint64) -> None:
    """Make a slot's shadow page in lanes and, if indirect, write-protect its gfn (kvm_mmu_alloc_shadow_page)."""
    gfn = st.pages[slot, GFN]
    count(st, C_MMU_CACHE_MISS, lanes)
    st.masks[slot, SHADOWED] |= lanes
    for kind in range(2):
        bucket = bucket_of(gfn, kind)
        add_one(st.buckets[kind, bucket], lanes)
        height = st.bucket_heights[kind, bucket]
        if height < BUCKET_PLANES and st.buckets[kind, bucket, height]:
            st.bucket_heights[kind, bucket] = height + 1
    rest = lanes
    while rest:
        lane = lowest(rest)
        rest &= ~bit(lane)
        newest = st.lane[L_NEWEST, lane]
        st.fifo[0, slot, lane], st.fifo[1, slot, lane] = newest, NONE
        if newest == NONE:
            st.lane[L_OLDEST, lane] = slot
        else:
            st.fifo[1, newest, lane] = slot
        st.lane[L_NEWEST, lane] = slot
        set_used(st, lane, 1)
        if not is_direct(st, slot):
            st.lane[L_INDIRECT, lane] += 1
    if not is_direct(st, slot):
        st.scalar_masks[SM_INDIRECT] |= lanes
        add_one(st.regions[gfn >> 9], lanes)
        flush_remote(st, write_protect(st, gfn, lanes))


@kernel
def _forget(st: Lanes, slot: int, lanes: np.uint64) -> None:
    """Take a page out of the hash and the pool's FIFO and, if indirect, end the protection that it asked for."""
    gfn = st.pages[slot, GFN]
    st.masks[slot, SHADOWED] &= ~lanes
    subtract_one(st.buckets[0, bucket_of(gfn, 0)], lanes)
    subtract_one(st.buckets[1, bucket_of(gfn, 1)], lanes)
    rest = lanes
    while rest:
        lane = lowest(rest)
        rest &= ~bit(lane)
        older, newer = st.fifo[0, slot, lane], st.fifo[1, slot, lane]
        if older == NONE:
            st.lane[L_OLDEST, lane] = newer
        else:
            st.fifo[1, older, lane] = newer
        if newer == NONE:
            st.lane[L_NEWEST, lane] = older
        else:
            st.fifo[0, newer, lane] = older
        if not is_direct(st, slot):
            st.lane[L_INDIRECT, lane] -= 1
            if not st.lane[L_INDIRECT, lane]:
                st.scalar_masks[SM_INDIRECT] &= ~bit(lane)
    if not is_direct(st, slot):
        subtract_one(st.regions[gfn >> 9], lanes)


@kernel
def held_roots(st: Lanes, slot: int, lanes: np.uint64, mark: bool) -> np.uint64:
    """Return the lanes in which a vCPU holds a slot as a root; with `mark`, note there that it was zapped."""
    held = ZERO
    for vcpu in range(st.scalars[S_VCPUS]):
        if st.roots[vcpu, R_SLOT] == slot:
            valid = st.root_masks[vcpu, RM_VALID] & lanes
            held |= valid
            if mark:
                st.root_masks[vcpu, RM_VALID] &= ~valid
                st.root_masks[vcpu, RM_ZAPPED] |= valid
        for place in range(V_ROOTS, V_ROOTS + CACHED_ROOTS):
            rest = lanes
            while rest:
                lane = lowest(rest)
                rest &= ~bit(lane)
                if st.vcpu[vcpu, place, lane] == slot:
                    held |= bit(lane)
                    if mark:
                        st.vcpu[vcpu, place, lane] = -2 - slot
    return held


@kernel
def _drop_entries(st: Lanes, slot: int, lanes: np.uint64) -> None:
    groups = st.pages[slot, OCCUPIED]
    while groups:
        group = lowest(np.uint64(groups))
        groups &= groups - 1
        left = ZERO
        for index in range(group * 8, group * 8 + 8):
            present = st.sptes[slot, index, PRESENT]
            if present & lanes:
                drop(st, slot, index, present & lanes)
                present &= ~lanes
            left |= present
        if not left:
            st.pages[slot, OCCUPIED] &= ~(np.int64(1) << group)


@kernel
def _drop_links_to(st: Lanes, slot: int, lanes: np.uint64) -> None:
    spte = st.pages[slot, FIRST_PARENT]
    while spte != NONE:
        parent, index = spte >> 9, spte & 511
        spte = np.int64(st.chains[parent, index, NEXT])
        linked = lanes_to(st, parent, index, slot, SMALL) & lanes
        if linked:
            drop(st, parent, index, linked)
    place = 0
    while place < st.scalars[S_ODD]:
        key = st.odd[place, 0]
        place += 1
        if not lanes & bit(key & 63):
            continue
        parent, index, one = key >> 15, (key >> 6) & 511, bit(key & 63)
        if is_leaf_slot(st, parent) or large_lanes(st, parent, index) & one:
            continue
        if odd_get(st, parent << 9 | index, key & 63) == slot:
            drop(st, parent, index, one)
            place = 0


@kernel
def _zap_one(st: Lanes, slot: int, lanes: np.uint64) -> None:
    """Zap a page without what lies below it."""
    count(st, C_MMU_SHADOW_ZAPPED, lanes)
    _drop_entries(st, slot, lanes)
    _drop_links_to(st, slot, lanes)
    _forget(st, slot, lanes)
    count(st, C_RESYNC, st.masks[slot, UNSYNC] & lanes)
    st.masks[slot, UNSYNC] &= ~lanes
    st.masks[slot, BELOW_ANY] &= ~lanes
    clear_count(st, slot, lanes)
    held = held_roots(st, slot, lanes, True) if st.pages[slot, KEY] >> 4 == 4 else ZERO
    st.scalar_masks[SM_OBSOLETE] |= held
    rest = lanes & ~held
    while rest:
        lane = lowest(rest)
        rest &= ~bit(lane)
        set_used(st, lane, -1)
        st.lane[L_FREED, lane] += 1
    forget_updated(st, lanes)
    if not st.masks[slot, SHADOWED]:
        st.work[WORK_SLOTS - 1 - st.scalars[S_DEFERRED]] = slot
        st.scalars[S_DEFERRED] += 1


@kernel
def forget_updated(st: Lanes, lanes: np.uint64) -> None:
    """Forget the last speculative spte of all vCPUs, as every zap does (Linux 3.0 kvm_mmu_prepare_zap_page)."""
    for vcpu in range(st.scalars[S_VCPUS]):
        st.root_masks[vcpu, RM_UPDATED] &= ~lanes
        st.root_masks[vcpu, RM_UPDATED_OWN] &= ~lanes


@kernel
def zap(st: Lanes, slot: int, lanes: np.uint64) -> None:
    """Zap a page and the out-of-sync leaves below it; `L_FREED` grows by the pages freed (kvm_mmu_prepare_zap_page)."""
    if not is_leaf_slot(st, slot):
        begin = collect_unsync(st, slot, lanes, True)
        for item in range(begin, st.scalars[S_WORK]):
            _zap_one(st, st.work[item], st.work_masks[item])
        st.scalars[S_WORK] = begin
    _zap_one(st, slot, lanes)


@kernel
def make_pages_available(st: Lanes, lanes: np.uint64) -> None:
    """Zap the oldest pages in lanes whose pool is nearly full (make_mmu_pages_available, kvm_mmu_free_some_pages)."""
    low = st.scalar_masks[SM_LOW] & lanes
    while low:
        lane = lowest(low)
        low &= ~bit(lane)
        available = max(st.lane[L_POOL, lane] - st.lane[L_USED, lane], 0)
        wanted = REFILL_PAGES - available
        skips_roots = st.knobs[K_RECYCLE_SKIPS_ROOTS] & bit(lane) != ZERO
        st.lane[L_FREED, lane] = 0
        slot = st.lane[L_OLDEST, lane]
        while slot != NONE and st.lane[L_FREED, lane] < wanted:
            if skips_roots and st.pages[slot, KEY] >> 4 == 4 and held_roots(st, slot, bit(lane), False):
                slot = np.int64(st.fifo[1, slot, lane])
                continue
            before = st.lane[L_FREED, lane]
            zap(st, slot, bit(lane))
            count_amount(st, C_MMU_RECYCLED, bit(lane), st.lane[L_FREED, lane] - before if skips_roots else 1)
            slot = st.lane[L_OLDEST, lane]
        if st.lane[L_FREED, lane]:
            flush_remote(st, bit(lane))
