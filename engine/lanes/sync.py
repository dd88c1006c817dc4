"""Look-ups and synchronisation in lanes: get_page, unsync, sync, and the write access that both decide on."""

import numpy as np

from engine.jit import array_kernel as kernel
from engine.lanes.bits import ZERO, any_plane, bit, lowest
from engine.lanes.counting import (
    C_MMU_UNSYNC,
    C_RESYNC,
    C_SYNC_EVENTS,
    C_SYNC_SPTES,
    C_SYNC_TRANSIENT,
    C_UNSYNC_EVENTS,
    count,
    count_planes,
)
from engine.lanes.memory import ACC_WRITE, G_ACCESSED, G_DIRTY, G_PRESENT, access_of, gfn_of, read
from engine.lanes.odd import odd_get
from engine.lanes.pages import create, flush_remote, zap
from engine.lanes.rmap import clear_count, drop, is_leaf_slot, target_of, write_protect
from engine.lanes.slots import find_slot, is_direct, make_slot, walk_chain
from engine.lanes.state import (
    ACCESSED,
    DIRTY,
    ENTRIES,
    ENTRY_PLANES,
    FIRST_SLOT,
    GFN,
    K_CREATE_ZAPS_UNSYNC,
    K_PREFETCH_UNSYNC,
    K_SYNC_ZAPS_EMPTY,
    K_UNSYNC,
    KEY,
    NONE,
    OCCUPIED,
    ODD,
    PRESENT,
    S_PAGES,
    S_WORK,
    SHADOWED,
    SIBLING,
    SMALL,
    UNSYNC,
    WRITABLE,
    Lanes,
)
from engine.lanes.tree import collect_unsync, mark_parents


@kernel
def tracked(st: Lanes, gfn: int) -> np.uint64:
    """Return the lanes in which a gfn is shadowed as an upper-level table: it never becomes writable there."""
    lanes = ZERO
    slot = np.int64(st.frames[gfn, FIRST_SLOT])
    while slot != NONE:
        if not is_leaf_slot(st, slot) and not is_direct(st, slot):
            lanes |= st.masks[slot, SHADOWED]
        slot = st.pages[slot, SIBLING]
    return lanes


@kernel
def may_write(st: Lanes, gfn: int, lanes: np.uint64, can_unsync: bool, speculative: bool) -> np.uint64:
    """Return the lanes in which a spte of `gfn` may be writable; unsync its pages there (mmu_try_to_unsync_pages)."""
    walk_chain(st, gfn, lanes, 1)
    if st.frames[gfn, FIRST_SLOT] == NONE:
        return lanes
    allowed = lanes & ~tracked(st, gfn)
    slot = np.int64(st.frames[gfn, FIRST_SLOT])
    while slot != NONE and allowed:
        shadowed = st.masks[slot, SHADOWED] & allowed
        if shadowed and not is_direct(st, slot):
            if not can_unsync:
                allowed &= ~shadowed
            else:
                synced = shadowed & ~st.masks[slot, UNSYNC]
                denied = synced & ~st.knobs[K_UNSYNC]
                if speculative:
                    denied |= synced & ~st.knobs[K_PREFETCH_UNSYNC]
                allowed &= ~denied
                _unsync(st, slot, synced & ~denied)
        slot = st.pages[slot, SIBLING]
    return allowed


@kernel
def _unsync(st: Lanes, slot: int, lanes: np.uint64) -> None:
    if lanes:
        st.masks[slot, UNSYNC] |= lanes
        count(st, C_UNSYNC_EVENTS, lanes)
        count(st, C_MMU_UNSYNC, lanes)
        mark_parents(st, slot, lanes)


@kernel
def _sync_entry(st: Lanes, slot: int, index: int, lanes: np.uint64, gpte: np.uint64) -> np.uint64:
    """Bring one entry in line in lanes in which it is present; return the lanes that must flush."""
    access = (st.pages[slot, KEY] & 7) & access_of(gpte)
    gfn = gfn_of(gpte)
    gone = lanes
    if gpte & G_PRESENT and gpte & G_ACCESSED and gfn < st.scalars[S_PAGES]:
        gone = ZERO
        odd = st.sptes[slot, index, ODD] & lanes
        if target_of(st, slot, index, SMALL) != gfn:
            gone = lanes & ~odd
        while odd:
            lane = lowest(odd)
            odd &= ~bit(lane)
            if odd_get(st, slot << 9 | index, lane) != gfn:
                gone |= bit(lane)
    if gone:
        drop(st, slot, index, gone)
    lanes &= ~gone
    if not lanes:
        return gone
    had = st.sptes[slot, index, WRITABLE] & lanes
    writable = ZERO
    if access & ACC_WRITE and gpte & G_DIRTY:
        writable = had
        if lanes & ~had:
            writable |= may_write(st, gfn, lanes & ~had, False, True)
    dirty = writable & ~had
    flush = (st.sptes[slot, index, ACCESSED] & lanes) | (had & ~writable)
    flush |= st.sptes[slot, index, DIRTY] & lanes & ~dirty
    st.sptes[slot, index, WRITABLE] = (st.sptes[slot, index, WRITABLE] & ~lanes) | writable
    st.sptes[slot, index, DIRTY] = (st.sptes[slot, index, DIRTY] & ~lanes) | dirty
    st.sptes[slot, index, ACCESSED] &= ~lanes
    return gone | flush


@kernel
def sync_sptes(st: Lanes, slot: int, lanes: np.uint64) -> np.uint64:
    """Bring the present sptes of a leaf page in line with the guest's entries; return the lanes that must flush."""
    count_planes(st, C_SYNC_SPTES, st.masks[slot, ENTRIES : ENTRIES + ENTRY_PLANES], lanes)
    flush = ZERO
    gfn = st.pages[slot, GFN]
    groups = st.pages[slot, OCCUPIED]
    while groups:
        group = lowest(np.uint64(groups))
        groups &= groups - 1
        left = ZERO
        for index in range(group * 8, group * 8 + 8):
            present = st.sptes[slot, index, PRESENT] & lanes
            if present:
                flush |= _sync_entry(st, slot, index, present, read(st, gfn, index))
            left |= st.sptes[slot, index, PRESENT]
        if not left:
            st.pages[slot, OCCUPIED] &= ~(np.int64(1) << group)
    return flush


@kernel
def _zap_empty(st: Lanes, slot: int, lanes: np.uint64) -> np.uint64:
    """Zap a page that synchronisation left without any spte, where the policy does so; return the lanes."""
    empty = lanes & st.knobs[K_SYNC_ZAPS_EMPTY]
    if empty:
        empty &= ~any_plane(st.masks[slot, ENTRIES : ENTRIES + ENTRY_PLANES])
    if empty:
        zap(st, slot, empty)
    return empty


@kernel
def sync_listed(st: Lanes, begin: int) -> None:
    """Write-protect the leaves on the work list from `begin` on, bring them in line, and take them off the list."""
    end = st.scalars[S_WORK]
    protected = ZERO
    for item in range(begin, end):
        protected |= write_protect(st, st.pages[st.work[item], GFN], st.work_masks[item])
    flush_remote(st, protected)
    flush = ZERO
    for item in range(begin, end):
        slot, lanes = st.work[item], st.work_masks[item]
        st.masks[slot, UNSYNC] &= ~lanes
        count(st, C_SYNC_EVENTS, lanes)
        count(st, C_RESYNC, lanes)
        flush |= sync_sptes(st, slot, lanes)
        flush |= _zap_empty(st, slot, lanes)
    flush_remote(st, flush)
    st.scalars[S_WORK] = begin


@kernel
def sync_children(st: Lanes, slot: int, lanes: np.uint64) -> np.uint64:
    """Synchronise every out-of-sync leaf below an upper page; return the lanes in which there was one."""
    begin = collect_unsync(st, slot, lanes, True)
    stale = ZERO
    for item in range(begin, st.scalars[S_WORK]):
        stale |= st.work_masks[item]
    if stale:
        sync_listed(st, begin)
    return stale


@kernel
def _zap_unsync_siblings(st: Lanes, gfn: int, lanes: np.uint64) -> None:
    slot = np.int64(st.frames[gfn, FIRST_SLOT])
    stale = ZERO
    while slot != NONE:
        unsync = st.masks[slot, UNSYNC] & lanes
        if unsync:
            zap(st, slot, unsync)
            stale |= unsync
        slot = st.pages[slot, SIBLING]
    flush_remote(st, stale)


@kernel
def _sync_siblings(st: Lanes, gfn: int, lanes: np.uint64) -> None:
    begin = st.scalars[S_WORK]
    slot = np.int64(st.frames[gfn, FIRST_SLOT])
    while slot != NONE:
        unsync = st.masks[slot, UNSYNC] & lanes
        if unsync:
            end = st.scalars[S_WORK]
            st.work[end], st.work_masks[end] = slot, unsync
            st.scalars[S_WORK] = end + 1
        slot = st.pages[slot, SIBLING]
    sync_listed(st, begin)


@kernel
def get_page(st: Lanes, gfn: int, key: int, lanes: np.uint64) -> int:
    """Return the slot of (gfn, role), its shadow page made in lanes that have none (kvm_mmu_get_shadow_page)."""
    walk_chain(st, gfn, lanes, 1)
    upper = key >> 4 > 1
    if upper and st.frames[gfn, FIRST_SLOT] != NONE:
        _zap_unsync_siblings(st, gfn, lanes & st.knobs[K_CREATE_ZAPS_UNSYNC])
    slot = find_slot(st, gfn, key)
    if slot != NONE:
        stale = st.masks[slot, UNSYNC] & lanes
        if stale:
            count(st, C_SYNC_TRANSIENT, stale)
            flush_remote(st, sync_sptes(st, slot, stale))
            _zap_empty(st, slot, stale)
    slot = make_slot(st, gfn, key)
    clear_count(st, slot, lanes)
    new = lanes & ~st.masks[slot, SHADOWED]
    if new:
        create(st, slot, new)
        if upper and not is_direct(st, slot):
            _sync_siblings(st, gfn, new & ~st.knobs[K_CREATE_ZAPS_UNSYNC])
    return slot
