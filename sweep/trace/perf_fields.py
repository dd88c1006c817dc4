"""The compiled parsers of what stands behind the event of a line: each fills one operation.

Each answers with ROW (the operation is complete), QUIET (there is none, and nothing to say about it), the positive code
of a reason to leave the event out (`perf_events.COUNT_NAMES`), or the negative code of a defect.
"""

from typing import Any, Final

import numpy as np

from engine.jit import kernel
from engine.vocabulary import Operation
from sweep.trace import perf_events as perf
from sweep.trace.scan import (
    Text,
    find_key,
    find_last_key,
    hex_at,
    matches,
    parse_decimal,
    skip_space,
    skip_word,
)

ROW: Final = 0
QUIET: Final = 1_000

PROT_MASK: Final = 7
MAP_SHARED_BIT: Final = 1 << 3
MAP_FIXED_BIT: Final = 1 << 4
MAP_FILE_BIT: Final = 1 << 5
"""The last three: bits of a MAP operation's flags, engine/operations.py."""

# Linux 6.1 include/uapi/linux/mman.h and asm-generic/mman-common.h.
_LINUX_MAP_SHARED: Final = 0x01
_LINUX_MAP_FIXED: Final = 0x10
_LINUX_MAP_ANONYMOUS: Final = 0x20
_LINUX_MAP_FIXED_NOREPLACE: Final = 0x10_0000
_ERRNO_MAX: Final = 4095

_LOW_32: Final = 0xFFFF_FFFF
_UNDERSCORE: Final = ord("_")
_LOWER_CASE: Final = 0x20


def _key(text: str) -> Text:
    """Return a key as the array of bytes that kernels take."""
    return np.frombuffer(text.encode(), np.uint8)


_ADDRESS_WORD: Final = _key("address=")
_ADDRESS: Final = _key("address=0x")
_ERROR_CODE: Final = _key("error_code=0x")
_IN: Final = _key("IN")
_OUT: Final = _key("OUT")
_PREEMPT: Final = _key("preempt")
_HEX: Final = _key("0x")
_PID: Final = _key("pid=")
_CLONE_FLAGS: Final = _key("clone_flags=")
_ADDR: Final = _key("addr:")
_START: Final = _key("start:")
_LEN: Final = _key("len:")
_LEN_IN: Final = _key("len_in:")
_NEW_LEN: Final = _key("new_len:")
_PROT: Final = _key("prot:")
_FLAGS: Final = _key("flags:")
_BEHAVIOR: Final = _key("behavior:")

_FAULT: Final = int(Operation.FAULT)
_SWITCH_IN: Final = int(Operation.SWITCH_IN)
_SWITCH_OUT: Final = int(Operation.SWITCH_OUT)
_UNMAP: Final = int(Operation.UNMAP)
_PROTECT: Final = int(Operation.PROTECT)
_ADVISE: Final = int(Operation.ADVISE)
_CLONE: Final = int(Operation.CLONE)
_MAP: Final = int(Operation.MAP)
_BRK: Final = int(Operation.BRK)
_REMAP: Final = int(Operation.REMAP)


@kernel
def clear(row: Any) -> None:
    """Set the fields that not every kind of operation uses to 0."""
    row["address"] = 0
    row["length"] = 0
    row["peer"] = 0
    row["flags"] = 0


@kernel
def _argument(text: Text, start: int, end: int, key: Text) -> tuple[bool, int]:
    """Return the hexadecimal argument behind a word, as in `len: 0x1000,`."""
    at = find_key(text, start, end, key)
    if at < 0:
        return False, 0
    at = skip_space(text, at, end)
    if not matches(text, at, end, _HEX):
        return False, 0
    return hex_at(text, at + len(_HEX), end)


@kernel
def parse_fault(text: Text, at: int, end: int, row: Any) -> int:
    """Fill a FAULT from `address=0x... ip=... error_code=0x...`."""
    has_error, error_code = hex_at(text, find_key(text, at, end, _ERROR_CODE), end)
    if not has_error:
        return -perf.BAD_FIELDS
    has_address, address = hex_at(text, find_key(text, at, end, _ADDRESS), end)
    if not has_address:
        word = find_key(text, at, end, _ADDRESS_WORD)
        if word < 0 or word >= end:
            return -perf.BAD_FIELDS
        # perf prints an address that lies in a kernel symbol as the symbol's name.
        letter = int(text[word]) | _LOWER_CASE
        is_symbol = 97 <= letter <= 122 or text[word] == _UNDERSCORE
        return perf.KERNEL_ADDRESS if is_symbol else -perf.BAD_FIELDS
    if address < 0:
        return perf.KERNEL_ADDRESS
    row["kind"] = _FAULT
    row["address"] = address
    row["flags"] = error_code & _LOW_32
    return ROW


@kernel
def parse_switch(text: Text, at: int, end: int, row: Any) -> int:
    """Fill a SWITCH_IN or SWITCH_OUT from `IN`, `OUT` or `OUT preempt`."""
    behind = skip_word(text, at, end)
    if behind - at == len(_IN) and matches(text, at, end, _IN):
        row["kind"] = _SWITCH_IN
        return ROW
    if behind - at != len(_OUT) or not matches(text, at, end, _OUT):
        return -perf.BAD_FIELDS
    row["kind"] = _SWITCH_OUT
    row["flags"] = 1 if matches(text, skip_space(text, behind, end), end, _PREEMPT) else 0
    return ROW


@kernel
def parse_range(text: Text, at: int, end: int, event: int, row: Any) -> int:
    """Fill an UNMAP, PROTECT or ADVISE from a call that names a range; such a call is taken to succeed."""
    if event == perf.ENTER_MUNMAP:
        row["kind"] = _UNMAP
        has_start, start = _argument(text, at, end, _ADDR)
        has_length, length = _argument(text, at, end, _LEN)
        has_flags, flags = True, 0
    elif event == perf.ENTER_MPROTECT:
        row["kind"] = _PROTECT
        has_start, start = _argument(text, at, end, _START)
        has_length, length = _argument(text, at, end, _LEN)
        has_flags, flags = _argument(text, at, end, _PROT)
    else:
        row["kind"] = _ADVISE
        has_start, start = _argument(text, at, end, _START)
        has_length, length = _argument(text, at, end, _LEN_IN)
        has_flags, flags = _argument(text, at, end, _BEHAVIOR)
    if not (has_start and has_length and has_flags):
        return -perf.BAD_FIELDS
    row["address"] = start
    row["length"] = length
    row["flags"] = flags & _LOW_32
    return ROW


@kernel
def parse_newtask(text: Text, at: int, end: int, row: Any) -> int:
    """Fill a CLONE from `pid=27812 comm=make clone_flags=4100 oom_score_adj=0`."""
    start = find_key(text, at, end, _PID)
    if start < 0:
        return -perf.BAD_FIELDS
    child, behind = parse_decimal(text, start, end)
    # The command name between the two may hold anything, so the last word that fits is meant.
    has_flags, flags = hex_at(text, find_last_key(text, behind, end, _CLONE_FLAGS), end)
    if behind == start or not has_flags:
        return -perf.BAD_FIELDS
    if child > perf.PID_LIMIT:
        return -perf.HIGH_PID
    row["kind"] = _CLONE
    row["peer"] = child
    row["flags"] = flags & _LOW_32
    return ROW


@kernel
def _map_flags(prot: int, flags: int) -> int:
    """Return the flags of a MAP from what mmap(2) was called with."""
    ours = prot & PROT_MASK
    if flags & _LINUX_MAP_SHARED:
        ours |= MAP_SHARED_BIT
    if flags & (_LINUX_MAP_FIXED | _LINUX_MAP_FIXED_NOREPLACE):
        ours |= MAP_FIXED_BIT
    if not flags & _LINUX_MAP_ANONYMOUS:
        ours |= MAP_FILE_BIT
    return ours


@kernel
def parse_entry(text: Text, at: int, end: int, event: int, row: Any) -> int:
    """Fill a MAP, BRK or REMAP as far as the entry of the call tells."""
    clear(row)
    if event == perf.ENTER_MMAP:
        has_length, length = _argument(text, at, end, _LEN)
        has_prot, prot = _argument(text, at, end, _PROT)
        has_flags, flags = _argument(text, at, end, _FLAGS)
        if not (has_length and has_prot and has_flags):
            return -perf.BAD_FIELDS
        row["kind"] = _MAP
        row["length"] = length
        row["flags"] = _map_flags(prot, flags)
    elif event == perf.ENTER_MREMAP:
        has_start, start = _argument(text, at, end, _ADDR)
        has_length, length = _argument(text, at, end, _NEW_LEN)
        if not (has_start and has_length):
            return -perf.BAD_FIELDS
        row["kind"] = _REMAP
        row["address"] = start
        row["length"] = length
    else:
        row["kind"] = _BRK
    return QUIET


@kernel
def parse_return(text: Text, at: int, end: int, wait: Any, row: Any) -> int:
    """Complete the operation that a thread waits in, from the value that its call returns."""
    if not matches(text, at, end, _HEX):
        return -perf.BAD_FIELDS
    has_value, value = hex_at(text, at + len(_HEX), end)
    if not has_value:
        return -perf.BAD_FIELDS
    if -_ERRNO_MAX <= value < 0:
        return perf.FAILED_CALL
    row["kind"] = wait["kind"]
    row["address"] = wait["address"] if wait["kind"] == _REMAP else value
    row["length"] = wait["length"]
    row["flags"] = wait["flags"]
    return ROW
