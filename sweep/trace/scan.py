"""Compiled scanning of bytes: numbers, keys and event names within one line of text.

All numbers are signed 64-bit; an address in the upper half of the address space is negative until it is stored.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from engine.jit import kernel

Text = npt.NDArray[np.uint8]

SPACE: Final = ord(" ")
_TAB: Final = ord("\t")
_COMMA: Final = ord(",")
_HEX_DIGITS_MAX: Final = 16
_DECIMAL_DIGITS_MAX: Final = 18
_FNV_OFFSET: Final = np.uint64(0xCBF29CE484222325)
_FNV_PRIME: Final = np.uint64(0x100000001B3)


@kernel
def find_byte(text: Text, start: int, end: int, byte: int) -> int:
    """Return where a byte is first found, or `end`."""
    at = start
    while at < end and text[at] != byte:
        at += 1
    return at


@kernel
def skip_space(text: Text, start: int, end: int) -> int:
    """Return the first position that is neither space nor tab, or `end`."""
    at = start
    while at < end and (text[at] == SPACE or text[at] == _TAB):
        at += 1
    return at


@kernel
def skip_word(text: Text, start: int, end: int) -> int:
    """Return the first position that is space or tab, or `end`."""
    at = start
    while at < end and text[at] != SPACE and text[at] != _TAB:
        at += 1
    return at


@kernel
def parse_decimal(text: Text, start: int, end: int) -> tuple[int, int]:
    """Return the number at `start` and the position behind it, which is `start` if there is none that fits."""
    value = 0
    at = start
    while at < end and 48 <= text[at] <= 57:
        value = value * 10 + (text[at] - 48)
        at += 1
        if at - start > _DECIMAL_DIGITS_MAX:
            return 0, start
    return value, at


@kernel
def parse_hex(text: Text, start: int, end: int) -> tuple[int, int]:
    """Return the hexadecimal number at `start` and the position behind it, which is `start` if none fits 64 bits."""
    value = 0
    at = start
    while at < end:
        byte = int(text[at])
        if 48 <= byte <= 57:
            digit = byte - 48
        elif 97 <= byte <= 102:
            digit = byte - 87
        elif 65 <= byte <= 70:
            digit = byte - 55
        else:
            break
        value = (value << 4) | digit
        at += 1
        if at - start > _HEX_DIGITS_MAX:
            return 0, start
    return value, at


@kernel
def matches(text: Text, at: int, end: int, key: Text) -> bool:
    """Tell whether the key stands at a position."""
    length = len(key)
    if at + length > end:
        return False
    i = 0
    while i < length and text[at + i] == key[i]:
        i += 1
    return i == length


@kernel
def find_key(text: Text, start: int, end: int, key: Text) -> int:
    """Return the position behind the first word that begins with the key, or -1."""
    at = skip_space(text, start, end)
    while at < end:
        if matches(text, at, end, key):
            return at + len(key)
        at = skip_space(text, skip_word(text, at, end), end)
    return -1


@kernel
def find_last_key(text: Text, start: int, end: int, key: Text) -> int:
    """Return the position behind the last word that begins with the key, or -1."""
    found = -1
    at = find_key(text, start, end, key)
    while at >= 0:
        found = at
        at = find_key(text, skip_word(text, at, end), end, key)
    return found


@kernel
def hex_at(text: Text, at: int, end: int) -> tuple[bool, int]:
    """Return whether a whole word or list item at a position is hexadecimal, and its value."""
    if at < 0:
        return False, 0
    value, behind = parse_hex(text, at, end)
    is_whole = behind == end or text[behind] == SPACE or text[behind] == _COMMA
    return behind > at and is_whole, value


@kernel
def hash_bytes(text: Text, start: int, end: int) -> np.uint64:
    """Hash bytes by FNV-1a."""
    value = _FNV_OFFSET
    for at in range(start, end):
        value = (value ^ np.uint64(text[at])) * _FNV_PRIME
    return value
