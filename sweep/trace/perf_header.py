"""The compiled parser of what every line of `perf script` text begins with: command, thread, CPU, time, event."""

from typing import Final

import numpy as np

from engine.jit import kernel
from sweep.trace import perf_events as perf
from sweep.trace.scan import Text, find_byte, hash_bytes, parse_decimal, skip_space

_SLASH: Final = ord("/")
_OPEN: Final = ord("[")
_CLOSE: Final = ord("]")
_DOT: Final = ord(".")
_COLON: Final = ord(":")
_MINUS: Final = ord("-")
_UNDERSCORE: Final = ord("_")
_SPACE: Final = ord(" ")
_TAB: Final = ord("\t")
_NS_DIGITS: Final = 9
_NS_PER_S: Final = 1_000_000_000
_SECONDS_MAX: Final = 9_000_000_000
"""More seconds than this do not fit a signed 64-bit count of nanoseconds."""


def _fnv(text: bytes) -> int:
    """Hash bytes as `scan.hash_bytes` does, without compiling it when this module is imported."""
    value = 0xCBF29CE484222325
    for byte in text:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


_EVENT_HASHES: Final = np.array([_fnv(name.encode()) for name in perf.EVENT_NAMES], np.uint64)
"""_EVENT_HASHES[event]: hash of the event's name; no two of the names have the same."""


@kernel
def _is_digit(text: Text, at: int) -> bool:
    """Tell whether a byte is a decimal digit."""
    return 48 <= int(text[at]) <= 57


@kernel
def _parse_id(text: Text, start: int, end: int) -> tuple[int, int]:
    """Return a process or thread id, -1 where perf knows none, and the position behind it, `start` if none is there."""
    if start < end and text[start] == _MINUS:
        value, behind = parse_decimal(text, start + 1, end)
        return (-1, behind) if behind > start + 1 and value == 1 else (0, start)
    return parse_decimal(text, start, end)


@kernel
def _parse_time(text: Text, start: int, end: int) -> tuple[int, int]:
    """Return a time in ns from `seconds.fraction:` and the position behind it, `start` if there is none."""
    seconds, dot = parse_decimal(text, start, end)
    if dot == start or dot >= end or text[dot] != _DOT or seconds > _SECONDS_MAX:
        return 0, start
    fraction, colon = parse_decimal(text, dot + 1, end)
    digits = colon - dot - 1
    if digits < 1 or digits > _NS_DIGITS or colon >= end or text[colon] != _COLON:
        return 0, start
    for _ in range(_NS_DIGITS - digits):
        fraction *= 10
    return seconds * _NS_PER_S + fraction, colon + 1


@kernel
def _parse_cpu(text: Text, start: int, end: int) -> tuple[int, int]:
    """Return a CPU number from `[number]` and the position behind it, `start` if there is none."""
    if start >= end or text[start] != _OPEN:
        return 0, start
    cpu, behind = parse_decimal(text, start + 1, end)
    if behind == start + 1 or behind >= end or text[behind] != _CLOSE:
        return 0, start
    return cpu, behind + 1


@kernel
def parse_header(text: Text, start: int, end: int) -> tuple[int, int, int, int, int, int]:
    """Return defect (0: none), end of the command, thread, CPU, time in ns, and where the event starts."""
    furthest = perf.NO_TASK
    slash = find_byte(text, start, end, _SLASH)
    while slash < end:
        first = slash
        while first > start and (_is_digit(text, first - 1) or text[first - 1] == _MINUS):
            first -= 1
        tid, behind = _parse_id(text, slash + 1, end)
        if start < first < slash and behind > slash + 1 and (text[first - 1] == _SPACE or text[first - 1] == _TAB):
            at = skip_space(text, behind, end)
            cpu, behind = _parse_cpu(text, at, end)
            furthest = max(furthest, perf.NO_CPU)
            if behind > at:
                at = skip_space(text, behind, end)
                time_ns, behind = _parse_time(text, at, end)
                furthest = max(furthest, perf.NO_TIME)
                if behind > at:
                    comm_end = first
                    while comm_end > start and (text[comm_end - 1] == _SPACE or text[comm_end - 1] == _TAB):
                        comm_end -= 1
                    defect = 0
                    if tid > perf.PID_LIMIT:
                        defect = perf.HIGH_PID
                    elif cpu > perf.VCPU_LIMIT:
                        defect = perf.HIGH_CPU
                    return defect, comm_end, tid, cpu, time_ns, behind
        slash = find_byte(text, slash + 1, end, _SLASH)
    return furthest, start, 0, 0, 0, start


@kernel
def _is_name(text: Text, at: int) -> bool:
    """Tell whether a byte can be part of an event's name."""
    byte = int(text[at])
    letter = byte | 0x20
    return 97 <= letter <= 122 or 48 <= byte <= 57 or byte in (_UNDERSCORE, _COLON, _MINUS)


@kernel
def event_end(text: Text, start: int, end: int) -> int:
    """Return the position behind the name of an event, its last colon not included."""
    at = start
    while at < end and _is_name(text, at):
        at += 1
    return at - 1 if at > start and text[at - 1] == _COLON else at


@kernel
def parse_event(text: Text, start: int, end: int) -> tuple[int, int]:
    """Return the code of an event and the position of its fields; the code is a negative defect if it is not known."""
    at = skip_space(text, start, end)
    behind = event_end(text, at, end)
    if behind == at:
        return -perf.NO_EVENT, at
    name = hash_bytes(text, at, behind)
    for event in range(len(_EVENT_HASHES)):
        if _EVENT_HASHES[event] == name:
            if behind < end and text[behind] == _COLON:
                behind += 1
            return event, behind
    return -perf.UNKNOWN_EVENT, at
