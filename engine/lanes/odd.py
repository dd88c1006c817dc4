"""The odd table: targets of sptes in lanes that disagree with the others.

Two lanes can map one entry to different frames, when an out-of-sync page is stale in one and renewed in the other. It
is rare, so such a lane's target lives here, in a dense list with a hash table over it, and its bit is set in the plane
ODD.
"""

from typing import Final

import numpy as np

from engine.jit import array_kernel as kernel
from engine.lanes.state import ODD_ENTRIES, S_ODD, Lanes

_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_SHIFT: Final = np.uint64(20)
_PLACES: Final = 2 * ODD_ENTRIES


@kernel
def _home(key: int) -> int:
    return np.int64((np.uint64(key) * _MIX) >> _MIX_SHIFT) & (_PLACES - 1)


@kernel
def _place(st: Lanes, key: int) -> int:
    """Return the place of a key in the hash table, or of the hole where it belongs."""
    place = _home(key)
    while st.odd_places[place] and st.odd[st.odd_places[place] - 1, 0] != key:
        place = (place + 1) & (_PLACES - 1)
    return place


@kernel
def odd_set(st: Lanes, spte: int, lane: int, target: int) -> None:
    """Remember the target of an spte (slot * 512 + index) in one lane."""
    key = spte << 6 | lane
    place = _place(st, key)
    if not st.odd_places[place]:
        st.scalars[S_ODD] += 1
        st.odd_places[place] = st.scalars[S_ODD]
    entry = st.odd_places[place] - 1
    st.odd[entry, 0] = key
    st.odd[entry, 1] = target


@kernel
def odd_get(st: Lanes, spte: int, lane: int) -> int:
    """Return the target of an odd spte in one lane."""
    return st.odd[st.odd_places[_place(st, spte << 6 | lane)] - 1, 1]


@kernel
def odd_remove(st: Lanes, spte: int, lane: int) -> int:
    """Forget an odd spte in one lane and return its target. The last entry of the list takes its place."""
    hole = _place(st, spte << 6 | lane)
    entry = st.odd_places[hole] - 1
    target = st.odd[entry, 1]
    last = st.scalars[S_ODD] - 1
    if entry != last:
        moved = _place(st, st.odd[last, 0])
        st.odd[entry, 0], st.odd[entry, 1] = st.odd[last, 0], st.odd[last, 1]
        st.odd_places[moved] = entry + 1
    st.scalars[S_ODD] = last
    place = hole
    while True:
        place = (place + 1) & (_PLACES - 1)
        if not st.odd_places[place]:
            break
        home = _home(st.odd[st.odd_places[place] - 1, 0])
        if (place - home) & (_PLACES - 1) >= (place - hole) & (_PLACES - 1):
            st.odd_places[hole] = st.odd_places[place]
            hole = place
    st.odd_places[hole] = 0
    return target
