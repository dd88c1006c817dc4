"""Entries of shadow pages in lanes: install, drop, find what maps a frame, take write access away."""

from typing import Final

import numpy as np

from engine.jit import array_kernel as kernel
from engine.lanes.bits import ZERO, add_one, bit, clear_lanes, lowest, subtract_one
from engine.lanes.counting import C_PREFETCH_UNUSED, C_SPTES_ZAPPED, count
from engine.lanes.odd import odd_get, odd_remove, odd_set
from engine.lanes.state import (
    ACCESSED,
    BELOW,
    BIG,
    DIRTY,
    ENTRIES,
    ENTRY_PLANES,
    FIRST_PARENT,
    FIRST_SPTE,
    FLOOD,
    FLOOD_PLANES,
    FLOODING,
    K_LARGE_DROP,
    KEY,
    LARGE,
    LARGE_NEXT,
    NEXT,
    NONE,
    OCCUPIED,
    ODD,
    PRESENT,
    PREVIOUS,
    S_ODD,
    SMALL,
    SPECULATIVE,
    TARGETS,
    WRITABLE,
    Lanes,
)

_HALF: Final = np.uint64(0xFFFFFFFF)


@kernel
def is_leaf_slot(st: Lanes, slot: int) -> bool:
    """Return whether a slot is of level 1."""
    return st.pages[slot, KEY] >> 4 == 1


@kernel
def clear_count(st: Lanes, slot: int, lanes: np.uint64) -> None:
    """Forget the write count of a page."""
    counted = st.masks[slot, FLOODING] & lanes
    if counted:
        clear_lanes(st.masks[slot, FLOOD : FLOOD + FLOOD_PLANES], counted)
        st.masks[slot, FLOODING] &= ~counted


@kernel
def large_lanes(st: Lanes, slot: int, index: int) -> np.uint64:
    """Return the lanes in which an entry is a large leaf."""
    if is_leaf_slot(st, slot):
        return ZERO
    return st.sptes[slot, index, LARGE] & st.sptes[slot, index, PRESENT]


@kernel
def target_of(st: Lanes, slot: int, index: int, big: int) -> int:
    """Return the target of an entry in the lanes that are not odd."""
    return np.int64((st.sptes[slot, index, TARGETS] >> np.uint64(32 * big)) & _HALF)


@kernel
def _set_target(st: Lanes, slot: int, index: int, big: int, target: int) -> None:
    shift = np.uint64(32 * big)
    st.sptes[slot, index, TARGETS] &= ~(_HALF << shift)
    st.sptes[slot, index, TARGETS] |= np.uint64(target) << shift


@kernel
def _head(st: Lanes, slot: int, big: int, target: int) -> int:
    """Return the first spte of the list that an entry with this target belongs to."""
    if big == BIG:
        return st.region_head[target >> 9]
    if is_leaf_slot(st, slot):
        return st.frames[target, FIRST_SPTE]
    return st.pages[target, FIRST_PARENT]


@kernel
def _set_head(st: Lanes, slot: int, big: int, target: int, spte: int) -> None:
    if big == BIG:
        st.region_head[target >> 9] = spte
    elif is_leaf_slot(st, slot):
        st.frames[target, FIRST_SPTE] = spte
    else:
        st.pages[target, FIRST_PARENT] = spte


@kernel
def _enter(st: Lanes, slot: int, index: int, big: int, target: int) -> None:
    """Put an entry at the front of its list."""
    spte = slot << 9 | index
    first = _head(st, slot, big, target)
    st.chains[slot, index, NEXT + 2 * big] = first
    st.chains[slot, index, PREVIOUS + 2 * big] = NONE
    if first != NONE:
        st.chains[first >> 9, first & 511, PREVIOUS + 2 * big] = spte
    _set_head(st, slot, big, target, spte)


@kernel
def _leave(st: Lanes, slot: int, index: int, big: int, target: int) -> None:
    """Take an entry out of its list."""
    after = st.chains[slot, index, NEXT + 2 * big]
    before = st.chains[slot, index, PREVIOUS + 2 * big]
    if after != NONE:
        st.chains[after >> 9, after & 511, PREVIOUS + 2 * big] = before
    if before != NONE:
        st.chains[before >> 9, before & 511, NEXT + 2 * big] = after
    else:
        _set_head(st, slot, big, target, after)


@kernel
def install(st: Lanes, slot: int, index: int, lanes: np.uint64, target: int, big: int) -> None:
    """Make an entry present in lanes in which it is absent; the caller sets its other planes."""
    leaf = is_leaf_slot(st, slot)
    large = large_lanes(st, slot, index)
    same_kind = st.sptes[slot, index, PRESENT] & (large if big == BIG else ~large)
    holders = same_kind & ~st.sptes[slot, index, ODD]
    if not holders:
        _set_target(st, slot, index, big, target)
        _enter(st, slot, index, big, target)
    elif target_of(st, slot, index, big) != target:
        rest = lanes
        while rest:
            lane = lowest(rest)
            rest &= ~bit(lane)
            odd_set(st, slot << 9 | index, lane, target)
        st.sptes[slot, index, ODD] |= lanes
    st.sptes[slot, index, PRESENT] |= lanes
    if leaf:
        add_one(st.lengths[target], lanes)
        add_one(st.masks[slot, ENTRIES : ENTRIES + ENTRY_PLANES], lanes)
    elif big == BIG:
        st.sptes[slot, index, LARGE] |= lanes
    st.pages[slot, OCCUPIED] |= np.int64(1) << (index >> 3)


@kernel
def _drop_kind(st: Lanes, slot: int, index: int, lanes: np.uint64, big: int) -> None:
    """Forget the targets of an entry in lanes in which all are of one kind."""
    leaf = is_leaf_slot(st, slot)
    odd = lanes & st.sptes[slot, index, ODD]
    usual = lanes & ~odd
    while odd:
        lane = lowest(odd)
        odd &= ~bit(lane)
        target = odd_remove(st, slot << 9 | index, lane)
        if leaf:
            subtract_one(st.lengths[target], bit(lane))
    if not usual:
        return
    target = target_of(st, slot, index, big)
    if leaf:
        subtract_one(st.lengths[target], usual)
    large = large_lanes(st, slot, index)
    same_kind = st.sptes[slot, index, PRESENT] & (large if big == BIG else ~large)
    if not same_kind & ~st.sptes[slot, index, ODD] & ~usual:
        _leave(st, slot, index, big, target)


@kernel
def drop(st: Lanes, slot: int, index: int, lanes: np.uint64) -> None:
    """Remove an entry, leaf or link, in lanes in which it is present."""
    large = lanes & large_lanes(st, slot, index)
    small = lanes & ~large
    if is_leaf_slot(st, slot):
        count(st, C_SPTES_ZAPPED, lanes)
        count(st, C_PREFETCH_UNUSED, lanes & st.sptes[slot, index, SPECULATIVE])
        subtract_one(st.masks[slot, ENTRIES : ENTRIES + ENTRY_PLANES], lanes)
    elif large:
        count(st, C_SPTES_ZAPPED, large)
        _drop_kind(st, slot, index, large, BIG)
    if small:
        _drop_kind(st, slot, index, small, SMALL)
    keep = ~lanes
    st.sptes[slot, index, PRESENT] &= keep
    st.sptes[slot, index, WRITABLE] &= keep
    st.sptes[slot, index, ACCESSED] &= keep
    st.sptes[slot, index, DIRTY] &= keep
    st.sptes[slot, index, SPECULATIVE] &= keep
    st.sptes[slot, index, ODD] &= keep
    st.sptes[slot, index, BELOW] &= keep


@kernel
def lanes_to(st: Lanes, slot: int, index: int, target: int, big: int) -> np.uint64:
    """Return the lanes in which an entry is present, of one kind, and has this target."""
    large = large_lanes(st, slot, index)
    lanes = st.sptes[slot, index, PRESENT] & (large if big == BIG else ~large)
    odd = lanes & st.sptes[slot, index, ODD]
    found = ZERO
    if target_of(st, slot, index, big) == target:
        found = lanes & ~odd
    while odd:
        lane = lowest(odd)
        odd &= ~bit(lane)
        if odd_get(st, slot << 9 | index, lane) == target:
            found |= bit(lane)
    return found


@kernel
def link_target(st: Lanes, slot: int, index: int, lane: int) -> int:
    """Return the slot that a link leads to in one lane."""
    if st.sptes[slot, index, ODD] & bit(lane):
        return odd_get(st, slot << 9 | index, lane)
    return target_of(st, slot, index, SMALL)


@kernel
def drop_frame(st: Lanes, gfn: int, lanes: np.uint64) -> None:
    """Drop every 4 KiB spte that maps a frame."""
    spte = st.frames[gfn, FIRST_SPTE]
    while spte != NONE:
        slot, index = np.int64(spte >> 9), np.int64(spte & 511)
        spte = st.chains[slot, index, NEXT]
        mapped = st.sptes[slot, index, PRESENT] & ~st.sptes[slot, index, ODD] & lanes
        if mapped:
            drop(st, slot, index, mapped)
    place = 0
    while place < st.scalars[S_ODD]:
        key = st.odd[place, 0]
        slot, index, lane = key >> 15, (key >> 6) & 511, key & 63
        if st.odd[place, 1] == gfn and is_leaf_slot(st, slot) and lanes & bit(lane):
            drop(st, slot, index, bit(lane))
            place = 0
        else:
            place += 1


@kernel
def write_protect(st: Lanes, gfn: int, lanes: np.uint64) -> np.uint64:
    """Take write access from all sptes that map a frame; return the lanes in which one had it (rmap_write_protect)."""
    changed = ZERO
    spte = st.frames[gfn, FIRST_SPTE]
    while spte != NONE:
        slot, index = spte >> 9, spte & 511
        had = st.sptes[slot, index, WRITABLE] & lanes & ~st.sptes[slot, index, ODD]
        changed |= had
        st.sptes[slot, index, WRITABLE] &= ~had
        spte = st.chains[slot, index, NEXT]
    spte = st.region_head[gfn >> 9]
    while spte != NONE:
        slot, index = np.int64(spte >> 9), np.int64(spte & 511)
        spte = st.chains[slot, index, LARGE_NEXT]
        had = st.sptes[slot, index, WRITABLE] & st.sptes[slot, index, LARGE] & lanes & ~st.sptes[slot, index, ODD]
        changed |= _protect_large(st, slot, index, had)
    if st.scalars[S_ODD]:
        changed |= _write_protect_odd(st, gfn, lanes)
    return changed


@kernel
def _protect_large(st: Lanes, slot: int, index: int, had: np.uint64) -> np.uint64:
    """Make a writable large spte read-only, or drop it where the policy does so."""
    if had:
        st.sptes[slot, index, WRITABLE] &= ~had
        dropped = had & st.knobs[K_LARGE_DROP]
        if dropped:
            drop(st, slot, index, dropped)
    return had


@kernel
def _write_protect_odd(st: Lanes, gfn: int, lanes: np.uint64) -> np.uint64:
    changed = ZERO
    place = 0
    while place < st.scalars[S_ODD]:
        key = st.odd[place, 0]
        target = st.odd[place, 1]
        place += 1
        if not lanes & bit(key & 63):
            continue
        slot, index, one = key >> 15, (key >> 6) & 511, bit(key & 63)
        had = st.sptes[slot, index, WRITABLE] & one
        if is_leaf_slot(st, slot):
            if target == gfn:
                st.sptes[slot, index, WRITABLE] &= ~had
                changed |= had
        elif st.sptes[slot, index, LARGE] & one and target >> 9 == gfn >> 9 and had:
            changed |= _protect_large(st, slot, index, had)
            place = 0
    return changed
