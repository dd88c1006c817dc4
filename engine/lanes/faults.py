"""The page fault path in lanes: build the shadow levels, install the spte, prefetch."""

from typing import Final

import numpy as np

from engine.jit import array_kernel as kernel
from engine.lanes.bits import ZERO, bit, lowest, not_below_constant
from engine.lanes.counting import (
    C_EXITS,
    C_LOCK_ACQUISITIONS,
    C_PAGE_WALKS,
    C_PF_EMULATE,
    C_PF_FIXED,
    C_PF_SPURIOUS,
    C_PF_TAKEN,
    C_PREFETCH_USED,
    C_RETRY_ZAPS,
    C_SPTES_INSTALLED,
    C_SPTES_PREFETCHED,
    C_WRITE_UPGRADES,
    count,
)
from engine.lanes.descs import take_desc, top_up
from engine.lanes.memory import (
    ACC_WRITE,
    G_ACCESSED,
    G_DIRTY,
    G_PRESENT,
    ROOT_LEVEL,
    access_of,
    gfn_of,
    index_of,
    read,
)
from engine.lanes.pages import flush_remote, is_direct, key_of, make_pages_available, walk_chain, zap
from engine.lanes.rmap import clear_count, drop, drop_frame, install, is_leaf_slot, lanes_to, large_lanes, link_target, target_of
from engine.lanes.state import (
    ACCESSED,
    BIG,
    DIRTY,
    FIRST_SLOT,
    GFN,
    K_CLEAR_ON_WALK,
    K_HOST_LARGE,
    K_ORACLE,
    K_PREFETCH,
    K_PREFETCH_STOPS,
    K_RESET_ON_FAULT,
    K_SCOPE_VCPU,
    K_SHORTCUT,
    KEY,
    LARGE,
    NONE,
    ODD,
    PRESENT,
    R_SLOT,
    R_UPDATED_GFN,
    R_UPDATED_SPTE,
    REGION_PLANES,
    RM_COUNT_RESET,
    RM_UPDATED,
    RM_UPDATED_OWN,
    RM_VALID,
    S_PAGES,
    SHADOWED,
    SIBLING,
    SMALL,
    SPECULATIVE,
    V_UPDATED_GFN,
    V_UPDATED_SPTE,
    W_ACCESS,
    W_GFN,
    W_LEVEL,
    W_TABLE,
    W_TABLE_ACCESS,
    WRITABLE,
    Lanes,
)
from engine.lanes.sync import get_page, may_write, sync_children, tracked
from engine.lanes.tree import link

PREFETCH_SPTES: Final = 8
RMAP_RECYCLE_THRESHOLD: Final = 1000
LENGTH_HIGH_PLANE: Final = 9
"""A reverse map longer than the threshold has this plane or a higher one set."""


@kernel
def find_leaf(st: Lanes, vcpu: int, gva: np.uint64, lanes: np.uint64) -> tuple[int, int, np.uint64]:
    """Follow the links of the lowest lane to the leaf entry of `gva`.

    Returns slot, index and the lanes that take the same way and have a leaf there; (NONE, 0, lanes that take the same
    way and have none) if that lane has no leaf.
    """
    slot, level = st.roots[vcpu, R_SLOT], ROOT_LEVEL
    same = lanes & st.root_masks[vcpu, RM_VALID]
    if same != lanes:
        return NONE, 0, lanes & ~same
    while True:
        index = index_of(gva, level)
        present = st.sptes[slot, index, PRESENT] & same
        if not present:
            return NONE, 0, same
        first = lowest(same)
        if not present & bit(first):
            return NONE, 0, same & ~present
        same = present
        if level == 1:
            return slot, index, same
        large = st.sptes[slot, index, LARGE] & same
        if large:
            if large & bit(first):
                return slot, index, large
            same &= ~large
        if st.sptes[slot, index, ODD] & same:
            child = link_target(st, slot, index, first)
            same &= lanes_to(st, slot, index, child, SMALL)
            slot = child
        else:
            slot = target_of(st, slot, index, SMALL)
        level -= 1


@kernel
def use(st: Lanes, slot: int, index: int, lanes: np.uint64, write: bool) -> None:
    """Mark a leaf entry as the CPU does when the guest uses it."""
    if lanes & ~st.sptes[slot, index, ACCESSED]:
        st.sptes[slot, index, ACCESSED] |= lanes
    if write and lanes & ~st.sptes[slot, index, DIRTY]:
        st.sptes[slot, index, DIRTY] |= lanes
    if st.pages[slot, KEY] >> 4 == 1:
        first = st.sptes[slot, index, SPECULATIVE] & lanes
        if first:
            st.sptes[slot, index, SPECULATIVE] &= ~first
            count(st, C_PREFETCH_USED, first)


@kernel
def access(st: Lanes, vcpu: int, gva: np.uint64, lanes: np.uint64, write: bool) -> np.uint64:
    """Let the guest use `gva` wherever an entry allows it; return the lanes that fault."""
    faults = ZERO
    rest = lanes
    while rest:
        slot, index, same = find_leaf(st, vcpu, gva, rest)
        rest &= ~same
        if slot == NONE:
            faults |= same
            continue
        if write:
            faults |= same & ~st.sptes[slot, index, WRITABLE]
            same &= st.sptes[slot, index, WRITABLE]
        use(st, slot, index, same, write)
    return faults


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
def _clear_flooding(st: Lanes, vcpu: int, gva: np.uint64, lanes: np.uint64) -> None:
    """Forget the write counts of the shadow pages that translate `gva` (shadow_page_table_clear_flood)."""
    rest = lanes & st.knobs[K_CLEAR_ON_WALK] & st.root_masks[vcpu, RM_VALID]
    while rest:
        same = rest
        slot, level = st.roots[vcpu, R_SLOT], ROOT_LEVEL
        while slot != NONE:
            clear_count(st, slot, same)
            index = index_of(gva, level)
            linked = same & st.sptes[slot, index, PRESENT] & ~large_lanes(st, slot, index)
            if level == 1 or not linked & bit(lowest(same)):
                same &= ~linked if level > 1 else same
                break
            child = link_target(st, slot, index, lowest(same))
            same = linked & lanes_to(st, slot, index, child, SMALL)
            slot, level = child, level - 1
        rest &= ~same


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
            emulate = _present(st, vcpu, gva, upper)
            _clear_flooding(st, vcpu, gva, emulate)
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
def _present(st: Lanes, vcpu: int, gva: np.uint64, lanes: np.uint64) -> np.uint64:
    present, rest = ZERO, lanes
    while rest:
        slot, _, same = find_leaf(st, vcpu, gva, rest)
        rest &= ~same
        if slot != NONE:
            present |= same
    return present


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
        _prefetch(st, vcpu, slot, index, filled)
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


@kernel
def set_spte(
    st: Lanes,
    vcpu: int,
    slot: int,
    index: int,
    lanes: np.uint64,
    gfn: int,
    granted: int,
    write: bool,
    speculative: bool,
) -> tuple[np.uint64, np.uint64]:
    """Install a leaf spte, writable where no shadow page forbids it (mmu_set_spte).

    Returns the lanes that must emulate and those in which the spte was there already, just so.
    """
    leaf = is_leaf_slot(st, slot)
    kind = SMALL if leaf else BIG
    flush = ZERO
    old = st.sptes[slot, index, PRESENT] & lanes
    if old:
        other = old & ~lanes_to(st, slot, index, gfn, kind)
        if other:
            drop(st, slot, index, other)
            flush, old = other, old & ~other
    had = st.sptes[slot, index, WRITABLE] & old
    writable = ZERO
    if granted & ACC_WRITE:
        writable = had
        if lanes & ~had:
            writable |= may_write(st, gfn, lanes & ~had, True, speculative)
    dirty = writable & ~had
    new = lanes & ~old
    was_dirty = st.sptes[slot, index, DIRTY] & old
    same = old & st.sptes[slot, index, ACCESSED] & ~(had ^ writable) & ~(was_dirty ^ dirty)
    if new:
        if leaf:
            take_desc(st, vcpu, gfn, new)
        count(st, C_SPTES_PREFETCHED if speculative else C_SPTES_INSTALLED, new)
        install(st, slot, index, new, gfn, kind)
    changed = old & ~same
    if changed:
        count(st, C_WRITE_UPGRADES, changed & writable & ~had)
        flush |= changed & was_dirty & ~dirty
    keep = ~(new | changed)
    st.sptes[slot, index, WRITABLE] = (st.sptes[slot, index, WRITABLE] & keep) | (writable & ~keep)
    st.sptes[slot, index, DIRTY] = (st.sptes[slot, index, DIRTY] & keep) | (dirty & ~keep)
    if speculative:
        st.sptes[slot, index, SPECULATIVE] |= new
        _remember_updated(st, vcpu, slot << 9 | index, gfn, lanes)
    else:
        use(st, slot, index, new | changed, False)
    if new and leaf and st.lengths[gfn, LENGTH_HIGH_PLANE] | st.lengths[gfn, LENGTH_HIGH_PLANE + 1]:
        long = new & not_below_constant(st.lengths[gfn], RMAP_RECYCLE_THRESHOLD + 1)
        if long:
            drop_frame(st, gfn, long)
            flush_remote(st, long)
    flush_remote(st, flush)
    if granted & ACC_WRITE and write:
        return lanes & ~writable, same
    return ZERO, same


@kernel
def _remember_updated(st: Lanes, vcpu: int, spte: int, gfn: int, lanes: np.uint64) -> None:
    """Note the last speculative spte for the 2011 detector: one for all lanes, as long as they agree."""
    lanes &= st.knobs[K_SCOPE_VCPU]
    if not lanes:
        return
    others = st.root_masks[vcpu, RM_UPDATED] & ~lanes
    st.root_masks[vcpu, RM_UPDATED_OWN] = (st.root_masks[vcpu, RM_UPDATED_OWN] & ~lanes) | others
    while others:
        lane = lowest(others)
        others &= ~bit(lane)
        st.vcpu[vcpu, V_UPDATED_SPTE, lane] = st.roots[vcpu, R_UPDATED_SPTE]
        st.vcpu[vcpu, V_UPDATED_GFN, lane] = st.roots[vcpu, R_UPDATED_GFN]
    st.root_masks[vcpu, RM_UPDATED] = lanes
    st.roots[vcpu, R_UPDATED_SPTE] = spte
    st.roots[vcpu, R_UPDATED_GFN] = gfn


@kernel
def prefetch_gpte(st: Lanes, vcpu: int, slot: int, index: int, lanes: np.uint64) -> bool:
    """Install the spte of a guest entry speculatively; False if the entry is absent or was not accessed."""
    gpte = read(st, st.pages[slot, GFN], index)
    gfn = gfn_of(gpte)
    if not gpte & G_PRESENT or not gpte & G_ACCESSED or gfn >= st.scalars[S_PAGES]:
        return False
    granted = (st.pages[slot, KEY] & 7) & access_of(gpte)
    if not gpte & G_DIRTY:
        granted &= ~ACC_WRITE
    set_spte(st, vcpu, slot, index, lanes, gfn, granted, False, True)
    return True


@kernel
def _prefetch(st: Lanes, vcpu: int, slot: int, index: int, lanes: np.uint64) -> None:
    """Fill the aligned group of sptes around a fault (FNAME(pte_prefetch), __direct_pte_prefetch)."""
    first = index & ~(PREFETCH_SPTES - 1)
    for other in range(first, first + PREFETCH_SPTES):
        absent = lanes & ~st.sptes[slot, other, PRESENT]
        if other == index or not absent:
            continue
        if is_direct(st, slot):
            gfn = st.pages[slot, GFN] + other
            if gfn >= st.scalars[S_PAGES]:
                return
            set_spte(st, vcpu, slot, other, absent, gfn, st.pages[slot, KEY] & 7, False, True)
        elif not prefetch_gpte(st, vcpu, slot, other, absent):
            lanes &= ~(absent & st.knobs[K_PREFETCH_STOPS])
