"""The frames that a guest model has free."""

import numpy as np

from engine.core.guest.model import GuestModel
from engine.guest.state import LIST_ROOM


def free_frames(model: GuestModel) -> list[int]:
    """List the frames on per-CPU and buddy lists, as often as they are on one."""
    state = model.state
    found: list[int] = []
    for vcpu in range(state.lists.shape[0]):
        for kind in (0, 1):
            bottom, count = (int(value) for value in state.list_state[vcpu, kind])
            found += [int(state.lists[vcpu, kind, (bottom + i) % LIST_ROOM]) for i in range(count)]
    for gfn in np.flatnonzero(state.frames["free_order"]):
        found += range(int(gfn), int(gfn) + (1 << int(state.frames["free_order"][gfn]) >> 1))
    return found
