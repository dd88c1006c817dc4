"""The way that the CPU takes through the shadow pages of lanes to the entry of an address."""

import numpy as np

from engine.jit import array_kernel as kernel
from engine.lanes.bits import ZERO, bit, lowest
from engine.lanes.counting import (
    C_PREFETCH_USED,
    count,
)
from engine.lanes.memory import (
    ROOT_LEVEL,
    index_of,
)
from engine.lanes.rmap import (
    clear_count,
    lanes_to,
    large_lanes,
    link_target,
    target_of,
)
from engine.lanes.state import (
    ACCESSED,
    DIRTY,
    K_CLEAR_ON_WALK,
    KEY,
    LARGE,
    NONE,
    ODD,
    PRESENT,
    R_SLOT,
    RM_VALID,
    SMALL,
    SPECULATIVE,
    WRITABLE,
    Lanes,
)


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
def present_lanes(st: Lanes, vcpu: int, gva: np.uint64, lanes: np.uint64) -> np.uint64:
    """Return the lanes in which an entry translates `gva`, whatever access it grants."""
    present, rest = ZERO, lanes
    while rest:
        slot, _, same = find_leaf(st, vcpu, gva, rest)
        rest &= ~same
        if slot != NONE:
            present |= same
    return present


@kernel
def clear_flooding(st: Lanes, vcpu: int, gva: np.uint64, lanes: np.uint64) -> None:
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
