"""The per-vCPU cache of pte_list_desc in lanes: filled, taken from, and empty (the host's BUG_ON)."""

from typing import Final

import numpy as np

from engine.jit import array_kernel as kernel
from engine.lanes.bits import any_plane, bit, lane_value, lowest
from engine.lanes.counting import C_FATAL, count
from engine.lanes.state import L_DESC_ENTRIES, L_DESC_MINIMUM, RM_LOW_DESC, V_DESC, Lanes

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
    while rest:
        lane = lowest(rest)
        rest &= ~bit(lane)
        length, entries = lane_value(st.lengths[gfn], lane), st.lane[L_DESC_ENTRIES, lane]
        if length != 1 and (length < entries or length % entries):
            continue
        left = st.vcpu[vcpu, V_DESC, lane] - 1
        if left < 0:
            count(st, C_FATAL, bit(lane))
            continue
        st.vcpu[vcpu, V_DESC, lane] = left
        if left < st.lane[L_DESC_MINIMUM, lane]:
            st.root_masks[vcpu, RM_LOW_DESC] |= bit(lane)
