"""Leaf entries in lanes: install one, as a fault needs it or speculatively, and those around it."""

from typing import Final

import numpy as np

from engine.jit import array_kernel as kernel
from engine.lanes.bits import ZERO, bit, lowest, not_below_constant
from engine.lanes.counting import (
    C_SPTES_INSTALLED,
    C_SPTES_PREFETCHED,
    C_WRITE_UPGRADES,
    count,
)
from engine.lanes.descs import take_desc
from engine.lanes.memory import (
    ACC_WRITE,
    G_ACCESSED,
    G_DIRTY,
    G_PRESENT,
    access_of,
    gfn_of,
    read,
)
from engine.lanes.pages import flush_remote
from engine.lanes.paths import use
from engine.lanes.rmap import (
    drop,
    drop_frame,
    install,
    is_leaf_slot,
    lanes_to,
)
from engine.lanes.slots import is_direct
from engine.lanes.state import (
    ACCESSED,
    BIG,
    DIRTY,
    GFN,
    K_PREFETCH_STOPS,
    K_SCOPE_VCPU,
    KEY,
    PRESENT,
    R_UPDATED_GFN,
    R_UPDATED_SPTE,
    RM_UPDATED,
    RM_UPDATED_OWN,
    S_PAGES,
    SMALL,
    SPECULATIVE,
    V_UPDATED_GFN,
    V_UPDATED_SPTE,
    WRITABLE,
    Lanes,
)
from engine.lanes.sync import may_write

PREFETCH_SPTES: Final = 8
RMAP_RECYCLE_THRESHOLD: Final = 1000
LENGTH_HIGH_PLANE: Final = 9
"""A reverse map longer than the threshold has this plane or a higher one set."""


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
def prefetch(st: Lanes, vcpu: int, slot: int, index: int, lanes: np.uint64) -> None:
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
