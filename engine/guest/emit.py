"""Write layer-2 events into the buffer."""

from typing import Any

import numpy as np

from engine.guest import constants as c
from engine.guest.state import State
from engine.jit import array_kernel


@array_kernel
def emit(state: State, vcpu: int, kind: int, address: int, value: int) -> Any:
    """Append an event and return its place, for the caller to fill in what its kind has besides.

    In a full buffer that is the last place again, and the operation fails.
    """
    world = state.globals[0]
    place = world["count"]
    if place < len(state.out):
        world["count"] = place + 1
    else:
        place = len(state.out) - 1
        world["failure"] = c.NO_ROOM
    event = state.out[place]
    event["address"] = address
    event["value"] = value
    event["kind"] = kind
    event["vcpu"] = vcpu
    event["insn"] = 0
    event["width"] = 0
    event["access"] = 0
    event["activity"] = world["activity"]
    event["count"] = 0
    return place


@array_kernel
def emit_store(state: State, vcpu: int, address: int, value: int, insn: int, width: int, access: int) -> None:
    """Append a store of one operand."""
    event = state.out[emit(state, vcpu, c.STORE, address, value)]
    event["insn"] = insn
    event["width"] = width
    event["access"] = access
    event["count"] = 1


@array_kernel
def emit_block(state: State, vcpu: int, gfn: int, insn: int, width: int, count: int, access: int) -> None:
    """Append a store of zeros to `count` operands from the start of a page."""
    event = state.out[emit(state, vcpu, c.STORE, gfn << c.PAGE_SHIFT, 0)]
    event["insn"] = insn
    event["width"] = width
    event["access"] = access
    event["count"] = count


@array_kernel
def emit_touch(state: State, vcpu: int, address: int, access: int) -> None:
    """Append the first touch of a translation."""
    state.out[emit(state, vcpu, c.TOUCH, address, 0)]["access"] = access


@array_kernel
def emit_fault(state: State, vcpu: int, address: int, access: int) -> None:
    """Append a page fault that the guest's own tables cause."""
    state.out[emit(state, vcpu, c.GUEST_FAULT, address, 0)]["access"] = access


@array_kernel
def random_below(state: State, bound: int) -> int:
    """Draw a number below `bound` from the guest's own generator (Knuth's MMIX constants, upper 32 bits)."""
    world = state.globals[0]
    word = world["random"] * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
    world["random"] = word
    return (int(np.int64(word >> np.uint64(33))) * bound) >> 31
