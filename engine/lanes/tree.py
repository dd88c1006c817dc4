"""Links between shadow pages in lanes: mark the way up from an out-of-sync leaf, find the leaves below a page."""

import numpy as np

from engine.jit import array_kernel as kernel
from engine.lanes.bits import ZERO, bit, lowest
from engine.lanes.odd import odd_get
from engine.lanes.rmap import install, is_leaf_slot, lanes_to, large_lanes, target_of
from engine.lanes.state import (
    BELOW,
    BELOW_ANY,
    BELOW_GROUPS,
    FIRST_PARENT,
    NEXT,
    NONE,
    ODD,
    S_ODD,
    S_STAMP,
    S_WORK,
    SMALL,
    STAMP,
    UNSYNC,
    Lanes,
)


@kernel
def _mark_link(st: Lanes, slot: int, index: int, lanes: np.uint64) -> np.uint64:
    """Note that out-of-sync leaves may lie below a link; return the lanes in which that is news."""
    news = lanes & ~st.sptes[slot, index, BELOW]
    if news:
        st.sptes[slot, index, BELOW] |= news
        st.masks[slot, BELOW_ANY] |= news
        st.pages[slot, BELOW_GROUPS] |= np.int64(1) << (index >> 3)
    return news


@kernel
def mark_parents(st: Lanes, slot: int, lanes: np.uint64) -> None:
    """Note in every page above that a leaf is out of sync (kvm_mmu_mark_parents_unsync)."""
    depth = 1
    st.climb[0], st.climb_masks[0] = slot, lanes
    while depth:
        depth -= 1
        child, rest = st.climb[depth], st.climb_masks[depth]
        spte = st.pages[child, FIRST_PARENT]
        while spte != NONE:
            parent, index = spte >> 9, spte & 511
            linked = lanes_to(st, parent, index, child, SMALL) & rest
            news = _mark_link(st, parent, index, linked)
            if news:
                st.climb[depth], st.climb_masks[depth] = parent, news
                depth += 1
            spte = np.int64(st.chains[parent, index, NEXT])
        if st.scalars[S_ODD]:
            depth = _mark_odd_parents(st, child, rest, depth)


@kernel
def _mark_odd_parents(st: Lanes, child: int, lanes: np.uint64, depth: int) -> int:
    for place in range(st.scalars[S_ODD]):
        key = st.odd[place, 0]
        if st.odd[place, 1] != child or not lanes & bit(key & 63):
            continue
        parent, index = key >> 15, (key >> 6) & 511
        if is_leaf_slot(st, parent) or large_lanes(st, parent, index) & bit(key & 63):
            continue
        news = _mark_link(st, parent, index, bit(key & 63))
        if news:
            st.climb[depth], st.climb_masks[depth] = parent, news
            depth += 1
    return depth


@kernel
def link(st: Lanes, slot: int, index: int, lanes: np.uint64, child: int) -> None:
    """Link a page below an entry that is absent in these lanes (link_shadow_page)."""
    install(st, slot, index, lanes, child, SMALL)
    stale = lanes & (st.masks[child, UNSYNC] if is_leaf_slot(st, child) else st.masks[child, BELOW_ANY])
    news = _mark_link(st, slot, index, stale)
    if news:
        mark_parents(st, slot, news)


@kernel
def _found(st: Lanes, child: int, lanes: np.uint64, depth: int, stamp: int) -> int:
    """Put an out-of-sync leaf on the work list, or an upper page on the stack; return the depth of the stack."""
    if not is_leaf_slot(st, child):
        st.climb[depth], st.climb_masks[depth] = child, lanes
        return depth + 1
    unsync = st.masks[child, UNSYNC] & lanes
    if unsync:
        if st.pages[child, STAMP] >> 20 == stamp:
            st.work_masks[st.pages[child, STAMP] & 0xFFFFF] |= unsync
        else:
            end = st.scalars[S_WORK]
            st.pages[child, STAMP] = stamp << 20 | end
            st.work[end], st.work_masks[end] = child, unsync
            st.scalars[S_WORK] = end + 1
    return depth


@kernel
def collect_unsync(st: Lanes, slot: int, lanes: np.uint64, forget: bool) -> int:
    """Append the out-of-sync leaves below an upper page to the work list; return where they begin.

    With `forget` the marks on the way are cleared, because the caller brings all of these leaves back in sync.
    """
    begin = st.scalars[S_WORK]
    st.scalars[S_STAMP] += 1
    stamp = st.scalars[S_STAMP]
    depth = _found(st, slot, lanes, 0, stamp)
    while depth:
        depth -= 1
        page = st.climb[depth]
        wanted = st.climb_masks[depth] & st.masks[page, BELOW_ANY]
        if not wanted:
            continue
        groups = st.pages[page, BELOW_GROUPS]
        while groups:
            group = lowest(np.uint64(groups))
            groups &= groups - 1
            depth = _collect_group(st, page, group, wanted, depth, stamp, forget)
        if forget:
            st.masks[page, BELOW_ANY] &= ~wanted
    return begin


@kernel
def _collect_group(st: Lanes, page: int, group: int, wanted: np.uint64, depth: int, stamp: int, forget: bool) -> int:
    left = ZERO
    for index in range(group * 8, group * 8 + 8):
        below = st.sptes[page, index, BELOW] & wanted
        if below:
            odd = below & st.sptes[page, index, ODD]
            if below & ~odd:
                depth = _found(st, target_of(st, page, index, SMALL), below & ~odd, depth, stamp)
            while odd:
                lane = lowest(odd)
                odd &= ~bit(lane)
                depth = _found(st, odd_get(st, page << 9 | index, lane), bit(lane), depth, stamp)
            if forget:
                st.sptes[page, index, BELOW] &= ~below
        left |= st.sptes[page, index, BELOW]
    if forget and not left:
        st.pages[page, BELOW_GROUPS] &= ~(np.int64(1) << group)
    return depth
