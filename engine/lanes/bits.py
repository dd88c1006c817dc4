"""Lane masks and bit-sliced numbers: 64 small integers as planes of 64 bits, plane k holding bit k of every lane.

Adding one in any set of lanes costs about two word operations, whatever the number of lanes.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from engine.jit import array_kernel as kernel

Words = npt.NDArray[np.uint64]

ZERO: Final = np.uint64(0)
ONE: Final = np.uint64(1)
ALL: Final = np.uint64(0xFFFFFFFFFFFFFFFF)
_DE_BRUIJN: Final = np.uint64(0x03F79D71B4CB0A89)
_DE_BRUIJN_SHIFT: Final = np.uint64(58)


def _positions() -> npt.NDArray[np.int64]:
    table = np.zeros(64, dtype=np.int64)
    for position in range(64):
        table[((1 << position) * int(_DE_BRUIJN) & (1 << 64) - 1) >> 58] = position
    return table


_POSITION: Final = _positions()


@kernel
def lowest(mask: np.uint64) -> int:
    """Return the lowest lane of a mask that is not empty."""
    return _POSITION[np.int64(((mask & (~mask + ONE)) * _DE_BRUIJN) >> _DE_BRUIJN_SHIFT)]


@kernel
def bit(lane: int) -> np.uint64:
    """Return the mask of one lane."""
    return ONE << np.uint64(lane)


@kernel
def add_one(planes: Words, mask: np.uint64) -> None:
    """Add 1 in the lanes of `mask`. `planes[k]` holds bit k; there must be room for the carry."""
    k = 0
    while mask:
        carry = planes[k] & mask
        planes[k] ^= mask
        mask = carry
        k += 1


@kernel
def subtract_one(planes: Words, mask: np.uint64) -> None:
    """Subtract 1 in the lanes of `mask`, none of which may hold 0."""
    k = 0
    while mask:
        borrow = ~planes[k] & mask
        planes[k] ^= mask
        mask = borrow
        k += 1


@kernel
def add_amount(planes: Words, mask: np.uint64, amount: int) -> None:
    """Add the same amount in the lanes of `mask`."""
    k = 0
    while amount:
        if amount & 1:
            add_one(planes[k:], mask)
        amount >>= 1
        k += 1


@kernel
def add_planes(planes: Words, other: Words, mask: np.uint64) -> None:
    """Add another bit-sliced number in the lanes of `mask`."""
    carry = ZERO
    for k in range(other.shape[0]):
        a, b = planes[k], other[k] & mask
        planes[k] = a ^ b ^ carry
        carry = (a & b) | (carry & (a ^ b))
    if carry:
        add_one(planes[other.shape[0] :], carry)


@kernel
def clear_lanes(planes: Words, mask: np.uint64) -> None:
    """Set the lanes of `mask` to 0."""
    for k in range(planes.shape[0]):
        planes[k] &= ~mask


@kernel
def any_plane(planes: Words) -> np.uint64:
    """Return the lanes that do not hold 0."""
    lanes = ZERO
    for k in range(planes.shape[0]):
        lanes |= planes[k]
    return lanes


@kernel
def not_below(planes: Words, other: Words) -> np.uint64:
    """Return the lanes in which one number is at least another; both have the same number of planes."""
    greater, equal = ZERO, ALL
    for k in range(planes.shape[0] - 1, -1, -1):
        greater |= equal & planes[k] & ~other[k]
        equal &= ~(planes[k] ^ other[k])
    return greater | equal


@kernel
def not_below_constant(planes: Words, constant: int) -> np.uint64:
    """Return the lanes in which a number is at least a constant that its planes can hold."""
    greater, equal = ZERO, ALL
    for k in range(planes.shape[0] - 1, -1, -1):
        if (constant >> k) & 1:
            equal &= planes[k]
        else:
            greater |= equal & planes[k]
            equal &= ~planes[k]
    return greater | equal


@kernel
def lane_value(planes: Words, lane: int) -> int:
    """Return the number that one lane holds."""
    value = 0
    for k in range(planes.shape[0]):
        value |= np.int64((planes[k] >> np.uint64(lane)) & ONE) << k
    return value
