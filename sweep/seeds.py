"""Many seeds at once: what `numpy.random.SeedSequence` gives for each of many spawn keys, bit for bit.

A sweep of a million cells may have a hundred thousand traces, and a SeedSequence takes 10 to 20 µs: seconds in which
somebody waits for `sweep plan`. numpy promises that the algorithm stays (NEP 19); `tests/sweep/test_identity.py`
compares.
"""

from collections.abc import Iterator
from itertools import accumulate, repeat
from operator import mul
from typing import Final

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]

_POOL_WORDS: Final = 4
_SHIFT: Final = np.uint32(16)
_HASH_START, _HASH_FACTOR = 0x43B0D7E5, 0x931E8875
_STATE_START, _STATE_FACTOR = 0x8B51F9DD, 0x58F38DED
_MIX_LEFT, _MIX_RIGHT = np.uint32(0xCA01F9DD), np.uint32(0x4973F715)


def spawned_seeds(entropy: int, spawn_keys: Words) -> npt.NDArray[np.uint64]:
    """Return `SeedSequence(entropy, spawn_key=key).generate_state(1, "uint64")[0]` for each row of `spawn_keys`.

    Raises:
        ValueError: `entropy` is outside 0 to 2**128 - 1.
    """
    if not 0 <= entropy < 2 ** (32 * _POOL_WORDS):
        raise ValueError(f"entropy {entropy} is outside 0 to 2**128 - 1")
    words = [np.full(len(spawn_keys), (entropy >> 32 * i) & 0xFFFFFFFF, np.uint32) for i in range(_POOL_WORDS)]
    constants = _powers(_HASH_START, _HASH_FACTOR)
    pool = [_hashed(word, constants) for word in words]
    for source in range(_POOL_WORDS):
        for target in range(_POOL_WORDS):
            if source != target:
                pool[target] = _mixed(pool[target], _hashed(pool[source], constants))
    for word in spawn_keys.T.astype(np.uint32):
        pool = [_mixed(target, _hashed(word, constants)) for target in pool]
    constants = _powers(_STATE_START, _STATE_FACTOR)
    low, high = (_hashed(word, constants).astype(np.uint64) for word in pool[:2])
    return low | high << np.uint64(32)


def _powers(start: int, factor: int) -> Iterator[tuple[np.uint32, np.uint32]]:
    """Yield the constants of one hash after another: what is xored, then what is multiplied."""
    constants = accumulate(repeat(factor), lambda value, by: mul(value, by) & 0xFFFFFFFF, initial=start)
    before = next(constants)
    for after in constants:
        yield np.uint32(before), np.uint32(after)
        before = after


def _hashed(words: Words, constants: Iterator[tuple[np.uint32, np.uint32]]) -> Words:
    xored, factor = next(constants)
    product: Words = (words ^ xored) * factor
    return product ^ (product >> _SHIFT)


def _mixed(left: Words, right: Words) -> Words:
    result: Words = left * _MIX_LEFT - right * _MIX_RIGHT
    return result ^ (result >> _SHIFT)
