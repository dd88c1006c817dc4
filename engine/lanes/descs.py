"""The per-vCPU cache of pte_list_desc in lanes: filled, taken from, and empty (the host's BUG_ON)."""

from typing import Final

import numpy as np

from engine.jit import array_kernel as kernel
from engine.lanes.bits import ZERO, any_plane, bit, lowest
from engine.lanes.counting import C_FATAL, count
from engine.lanes.state import L_DESC_MINIMUM, LENGTH_PLANES, RM_LOW_DESC, V_DESC, Lanes

DESC_CAPACITY: Final = 40


@kernel
def top_up(st: Lanes, vcpu: int, lanes: np.uint64) -> None:
    """Fill the cache where it is below its minimum (mmu_topup_memory_cache)."""
    rest = lanes & st.root_masks[vcpu, RM_LOW_DESC]
    st.root_masks[vcpu, RM_LOW_DESC] &= ~rest
    while rest:
        lane = lowest(rest)
        rest &= ~bit(lane)
        st.vcpu[vcpu, V_DESC, lane] = DESC_CAPACITY


@kernel
def take_desc(st: Lanes, vcpu: int, gfn: int, lanes: np.uint64) -> None:
    """Take an object where one more spte of `gfn` needs one (pte_list_add)."""
    rest = lanes & any_plane(st.lengths[gfn])
    needed = ZERO
    while rest:
        length, same = _same_length(st, gfn, rest)
        rest &= ~same
        needed |= same if length == 1 else _at_full_desc(st, length, same)
    while needed:
        lane = lowest(needed)
        needed &= ~bit(lane)
        left = st.vcpu[vcpu, V_DESC, lane] - 1
        if left < 0:
            count(st, C_FATAL, bit(lane))
            continue
        st.vcpu[vcpu, V_DESC, lane] = left
        if left < st.lane[L_DESC_MINIMUM, lane]:
            st.root_masks[vcpu, RM_LOW_DESC] |= bit(lane)


@kernel
def _same_length(st: Lanes, gfn: int, lanes: np.uint64) -> tuple[int, np.uint64]:
    """Return the length of a reverse map in the lowest lane, and the lanes in which it is as long."""
    one = bit(lowest(lanes))
    length = 0
    for plane in range(LENGTH_PLANES):
        word = st.lengths[gfn, plane]
        if word & one:
            length |= 1 << plane
            lanes &= word
        else:
            lanes &= ~word
    return length, lanes


@kernel
def _at_full_desc(st: Lanes, length: int, lanes: np.uint64) -> np.uint64:
    """Return the lanes in which all objects of a reverse map of this length are full."""
    full, group = ZERO, 0
    while st.desc_lanes[group]:
        entries = st.desc_entries[group]
        if length >= entries and length % entries == 0:
            full |= st.desc_lanes[group] & lanes
        group += 1
        if group == st.desc_lanes.shape[0]:
            break
    return full
