"""Shadow pages in lanes: find a slot, create, zap, and keep the pool."""

from typing import Final

import numpy as np

from engine.jit import array_kernel as kernel
from engine.lanes.bits import ZERO, add_one, add_planes, bit, lowest, subtract_one
from engine.lanes.counting import (
    C_FLUSH_IPIS,
    C_HASH_STEPS,
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
from engine.lanes.state import (
    BELOW_ANY,
    BELOW_GROUPS,
    BUCKET_PLANES,
    CACHED_ROOTS,
    FIRST_PARENT,
    FIRST_SLOT,
    GFN,
    K_HASH_64,
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
    S_FREE_SLOTS,
    S_ODD,
    S_VCPUS,
    S_WORK,
    SHADOWED,
    SIBLING,
    SM_FLUSH,
    SM_INDIRECT,
    SM_LOW,
    SM_OBSOLETE,
    SMALL,
    STAMP,
    UNSYNC,
    V_ROOTS,
    WORK_SLOTS,
    Lanes,
)
from engine.lanes.tree import collect_unsync

MIN_FREE_PAGES: Final = 5
REFILL_PAGES: Final = 25
DIRECT: Final = 8
_HASH_64: Final = np.uint64(0x61C8864680B583EB)
_HASH_SHIFT: Final = np.uint64(52)


@kernel
def key_of(level: int, direct: int, access: int) -> int:
    """Return the key of a role."""
    return level << 4 | direct << 3 | access


@kernel
def is_direct(st: Lanes, slot: int) -> bool:
    """Return whether a slot maps a part of a guest large page and shadows no table."""
    return st.pages[slot, KEY] & DIRECT != 0


@kernel
def _bucket(gfn: int, kind: int) -> int:
    if kind == 0:
        return gfn & 1023
    return np.int64((np.uint64(gfn) * _HASH_64) >> _HASH_SHIFT)


@kernel
def walk_chain(st: Lanes, gfn: int, lanes: np.uint64, times: int) -> None:
    """Count the steps of so many walks along the hash chain of a gfn."""
    shift = 0
    while times >> shift:
        if (times >> shift) & 1:
            for kind in range(2):
                some = lanes & (st.knobs[K_HASH_64] if kind else ~st.knobs[K_HASH_64])
                bucket = _bucket(gfn, kind)
                height = st.bucket_heights[kind, bucket]
                if some and height:
                    add_planes(st.counts[C_HASH_STEPS, shift:], st.buckets[kind, bucket, :height], some)
        shift += 1


@kernel
def find_slot(st: Lanes, gfn: int, key: int) -> int:
    """Return the slot of (gfn, role), or NONE."""
    slot = np.int64(st.frames[gfn, FIRST_SLOT])
    while slot != NONE and st.pages[slot, KEY] != key:
        slot = st.pages[slot, SIBLING]
    return slot


@kernel
def make_slot(st: Lanes, gfn: int, key: int) -> int:
    """Return the slot of (gfn, role), taken from the free ones if there is none. Slots of a gfn are sorted by role."""
    before, slot = NONE, np.int64(st.frames[gfn, FIRST_SLOT])
    while slot != NONE and st.pages[slot, KEY] < key:
        before, slot = slot, st.pages[slot, SIBLING]
    if slot != NONE and st.pages[slot, KEY] == key:
        return slot
    st.scalars[S_FREE_SLOTS] -= 1
    new = np.int64(st.free[st.scalars[S_FREE_SLOTS]])
    st.pages[new, GFN], st.pages[new, KEY], st.pages[new, SIBLING] = gfn, key, slot
    st.pages[new, FIRST_PARENT] = NONE
    st.pages[new, OCCUPIED] = st.pages[new, BELOW_GROUPS] = st.pages[new, STAMP] = 0
    st.masks[new] = ZERO
    if before == NONE:
        st.frames[gfn, FIRST_SLOT] = new
    else:
        st.pages[before, SIBLING] = new
    return new


@kernel
def free_deferred(st: Lanes) -> None:
    """Return the slots that no lane uses any more; called between events, when nobody holds one."""
    while st.scalars[S_DEFERRED]:
        st.scalars[S_DEFERRED] -= 1
        slot = st.work[WORK_SLOTS - 1 - st.scalars[S_DEFERRED]]
        if st.masks[slot, SHADOWED] or st.pages[slot, KEY] == 0:
            continue
        gfn = st.pages[slot, GFN]
        before, other = NONE, np.int64(st.frames[gfn, FIRST_SLOT])
        while other != slot:
            before, other = other, st.pages[other, SIBLING]
        if before == NONE:
            st.frames[gfn, FIRST_SLOT] = st.pages[slot, SIBLING]
        else:
            st.pages[before, SIBLING] = st.pages[slot, SIBLING]
        st.pages[slot, KEY] = 0
        st.free[st.scalars[S_FREE_SLOTS]] = slot
        st.scalars[S_FREE_SLOTS] += 1


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
        bucket = _bucket(gfn, kind)
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
    subtract_one(st.buckets[0, _bucket(gfn, 0)], lanes)
    subtract_one(st.buckets[1, _bucket(gfn, 1)], lanes)
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
    """Zap a page and the out-of-sync leaves below it (__kvm_mmu_prepare_zap_page); `L_FREED` grows by the pages freed."""
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
