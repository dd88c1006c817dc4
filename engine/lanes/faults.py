"""The page fault path in lanes: build the shadow levels down to the leaf entry."""

import numpy as np

from engine.jit import array_kernel as kernel
from engine.lanes.bits import ZERO, bit, lowest
from engine.lanes.counting import (
    C_EXITS,
    C_LOCK_ACQUISITIONS,
    C_PAGE_WALKS,
    C_PF_EMULATE,
    C_PF_FIXED,
    C_PF_SPURIOUS,
    C_PF_TAKEN,
    C_RETRY_ZAPS,
    count,
)
from engine.lanes.descs import top_up
from engine.lanes.memory import (
    ACC_WRITE,
    ROOT_LEVEL,
    index_of,
)
from engine.lanes.pages import flush_remote, make_pages_available, zap
from engine.lanes.paths import clear_flooding, present_lanes
from engine.lanes.rmap import clear_count, drop, lanes_to, large_lanes, link_target, target_of
from engine.lanes.slots import is_direct, key_of, walk_chain
from engine.lanes.sptes import prefetch, set_spte
from engine.lanes.state import (
    FIRST_SLOT,
    GFN,
    K_CLEAR_ON_WALK,
    K_HOST_LARGE,
    K_ORACLE,
    K_PREFETCH,
    K_RESET_ON_FAULT,
    K_SCOPE_VCPU,
    K_SHORTCUT,
    KEY,
    NONE,
    ODD,
    PRESENT,
    R_SLOT,
    REGION_PLANES,
    RM_COUNT_RESET,
    RM_VALID,
    SHADOWED,
    SIBLING,
    SMALL,
    W_ACCESS,
    W_GFN,
    W_LEVEL,
    W_TABLE,
    W_TABLE_ACCESS,
    Lanes,
)
from engine.lanes.sync import get_page, sync_children, tracked
from engine.lanes.tree import link


@kernel
def unprotect(st: Lanes, gfn: int, lanes: np.uint64) -> np.uint64:
    """Zap every indirect shadow page of `gfn`; return the lanes that had one (kvm_mmu_unprotect_page)."""
    count(st, C_LOCK_ACQUISITIONS, lanes)
    walk_chain(st, gfn, lanes, 1)
    had = ZERO
    slot = np.int64(st.frames[gfn, FIRST_SLOT])
    while slot != NONE:
        if not is_direct(st, slot):
            had |= st.masks[slot, SHADOWED] & lanes
        slot = st.pages[slot, SIBLING]
    slot = np.int64(st.frames[gfn, FIRST_SLOT])
    while slot != NONE:
        shadowed = st.masks[slot, SHADOWED] & lanes
        if shadowed and not is_direct(st, slot):
            count(st, C_RETRY_ZAPS, shadowed)
            zap(st, slot, shadowed)
        slot = st.pages[slot, SIBLING]
    flush_remote(st, had)
    return had


@kernel
def page_fault(
    st: Lanes, vcpu: int, gva: np.uint64, lanes: np.uint64, write: bool, dead: bool
) -> tuple[np.uint64, np.uint64]:
    """Serve an exit by a fault that the guest's own tables allow; `st.walk` holds their walk.

    Returns the lanes that must emulate the instruction and those that just have to try again.
    """
    count(st, C_EXITS, lanes)
    count(st, C_PF_TAKEN, lanes)
    count(st, C_PAGE_WALKS, lanes)
    gfn = st.walk[W_GFN]
    if dead and write and lanes & st.knobs[K_ORACLE]:
        unprotect(st, gfn, lanes & st.knobs[K_ORACLE])
    emulate = ZERO
    if write:
        upper = tracked(st, gfn) & lanes & st.knobs[K_SHORTCUT]
        if upper:
            emulate = present_lanes(st, vcpu, gva, upper)
            clear_flooding(st, vcpu, gva, emulate)
    rest = lanes & ~emulate
    if rest:
        top_up(st, vcpu, rest)
        count(st, C_LOCK_ACQUISITIONS, rest)
        make_pages_available(st, rest)
    retry = rest & ~st.root_masks[vcpu, RM_VALID]
    rest &= ~retry
    spurious = ZERO
    built = rest
    while rest:
        same, emulated, unchanged = _fetch(st, vcpu, gva, rest, write)
        rest &= ~same
        emulate |= emulated
        spurious |= unchanged
    count(st, C_PF_EMULATE, emulate)
    count(st, C_PF_SPURIOUS, spurious)
    count(st, C_PF_FIXED, built & ~emulate & ~spurious)
    reset_counts(st, vcpu, (retry | built) & ~emulate)
    return emulate, retry


@kernel
def reset_counts(st: Lanes, vcpu: int, lanes: np.uint64) -> None:
    """Reset the 2011 detector of a vCPU after a fault that is not emulated."""
    st.root_masks[vcpu, RM_COUNT_RESET] |= lanes & st.knobs[K_RESET_ON_FAULT] & st.knobs[K_SCOPE_VCPU]


@kernel
def _child(st: Lanes, slot: int, index: int, lanes: np.uint64, gfn: int, key: int) -> tuple[int, np.uint64]:
    """Return the page below an entry, looked up and linked where it is not yet, and the lanes that share it."""
    linked = st.sptes[slot, index, PRESENT] & lanes & ~large_lanes(st, slot, index)
    if linked == lanes and not st.sptes[slot, index, ODD] & lanes:
        child = target_of(st, slot, index, SMALL)
        if st.pages[child, GFN] == gfn:
            return child, lanes
    missing = lanes & ~linked
    while linked:
        first = lowest(linked)
        child = link_target(st, slot, index, first)
        same = lanes_to(st, slot, index, child, SMALL) & linked
        if st.pages[child, GFN] == gfn:
            return child, same
        missing |= same
        linked &= ~same
    child = get_page(st, gfn, key, missing)
    if key >> 4 > 1 and not is_direct(st, child):
        sync_children(st, child, missing)
    stale = st.sptes[slot, index, PRESENT] & missing
    if stale:
        drop(st, slot, index, stale)
        flush_remote(st, stale)
    link(st, slot, index, missing, child)
    return child, missing


@kernel
def _goal_2_lanes(st: Lanes, lanes: np.uint64) -> np.uint64:
    """Return the lanes in which the walk's page is mapped large."""
    level, gfn = st.walk[W_LEVEL], st.walk[W_GFN]
    if level == 1:
        return ZERO
    span = 9 * (level - 1)
    if st.walk[W_ACCESS] & ACC_WRITE:
        for above in range(level, ROOT_LEVEL + 1):
            if st.walk[W_TABLE + above] >> span == gfn >> span:
                return ZERO
    shadowed = ZERO
    for plane in range(REGION_PLANES):
        shadowed |= st.regions[gfn >> 9, plane]
    return lanes & st.knobs[K_HOST_LARGE] & ~shadowed


@kernel
def _fetch(
    st: Lanes, vcpu: int, gva: np.uint64, lanes: np.uint64, write: bool
) -> tuple[np.uint64, np.uint64, np.uint64]:
    """Build the shadow levels and the leaf for those lanes that share one way down (FNAME(fetch)).

    Returns these lanes, and of them those that must emulate and those whose spte was right already.
    """
    gfn, walk_level, granted = st.walk[W_GFN], st.walk[W_LEVEL], st.walk[W_ACCESS]
    slot, level, same = st.roots[vcpu, R_SLOT], ROOT_LEVEL, lanes
    goal = 0
    while True:
        clear_count(st, slot, same & st.knobs[K_CLEAR_ON_WALK])
        index = index_of(gva, level)
        if level > walk_level:
            key = key_of(level - 1, 0, st.walk[W_TABLE_ACCESS + level - 1])
            slot, same = _child(st, slot, index, same, st.walk[W_TABLE + level - 1], key)
        else:
            if goal == 0:
                large = _goal_2_lanes(st, same)
                goal = 2 if large & bit(lowest(same)) else 1
                same = large if goal == 2 else same & ~large
            if level == goal:
                break
            _drop_other_access(st, slot, index, same, granted)
            base = gfn & ~((np.int64(1) << 9 * (level - 1)) - 1)
            slot, same = _child(st, slot, index, same, base, key_of(level - 1, 1, granted))
        level -= 1
    base = gfn & ~((np.int64(1) << 9 * (level - 1)) - 1)
    emulate, spurious = set_spte(st, vcpu, slot, index, same, base, granted, write, False)
    filled = same & ~(spurious & ~emulate) & st.knobs[K_PREFETCH]
    if filled and level == 1:
        prefetch(st, vcpu, slot, index, filled)
    return same, emulate, spurious & ~emulate


@kernel
def _drop_other_access(st: Lanes, slot: int, index: int, lanes: np.uint64, granted: int) -> None:
    """Drop links to pages that were built for another access (validate_direct_spte)."""
    linked = st.sptes[slot, index, PRESENT] & lanes & ~large_lanes(st, slot, index)
    while linked:
        child = link_target(st, slot, index, lowest(linked))
        same = lanes_to(st, slot, index, child, SMALL) & linked
        linked &= ~same
        if st.pages[child, KEY] & 7 != granted:
            drop(st, slot, index, same)
            flush_remote(st, same)
