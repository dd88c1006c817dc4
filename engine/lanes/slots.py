"""Slots: where the shadow pages of a (gfn, role) are, for all lanes, and the hash chains that lead there."""

from typing import Final

import numpy as np

from engine.jit import array_kernel as kernel
from engine.lanes.bits import ZERO, add_planes
from engine.lanes.counting import (
    C_HASH_STEPS,
)
from engine.lanes.state import (
    BELOW_GROUPS,
    FIRST_PARENT,
    FIRST_SLOT,
    GFN,
    K_HASH_64,
    KEY,
    NONE,
    OCCUPIED,
    S_ACTIVITY,
    S_DEFERRED,
    S_FREE_SLOTS,
    SHADOWED,
    SIBLING,
    STAMP,
    WORK_SLOTS,
    Lanes,
)

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
def bucket_of(gfn: int, kind: int) -> int:
    """Return the hash bucket of a gfn: kind 0 by its low 10 bits, kind 1 by hash_64."""
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
                bucket = bucket_of(gfn, kind)
                height = st.bucket_heights[kind, bucket]
                if some and height:
                    steps = st.counts[st.scalars[S_ACTIVITY], C_HASH_STEPS, shift:]
                    add_planes(steps, st.buckets[kind, bucket, :height], some)
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
