"""Looks at the file of a recorded trace before anything reads all of it: a stranger's path may never end."""

import io
import stat
from pathlib import Path
from tokenize import TokenError
from typing import Any, Final

from numpy.lib import format as npy

from engine.operations import OPERATION

BYTES_MAX: Final = 64 << 30
"""Largest recording that is taken (assumption): at some 1 GB/s a minute of hashing before anything starts."""
_HEADER_BYTES_MAX: Final = 4096
"""Beginning of a file in which the header of an array of operations ends; numpy writes some 200 bytes."""
_HOW: Final = "make one with: sweep trace array TRACE -o FILE.npy"


def recording_problem(path: Path) -> str:
    """Return why a file is no recording that can be replayed; nothing if it is one. Reads its header alone."""
    try:
        status = path.stat()
        # Before it is opened: a pipe or a device would keep who opens it waiting, and files of /proc have no size.
        if not stat.S_ISREG(status.st_mode):
            return f"{path} is no ordinary file; {_HOW}"
        if not status.st_size:
            return f"{path} is empty; {_HOW}"
        if status.st_size > BYTES_MAX:
            return f"{path} has {status.st_size} bytes, and at most {BYTES_MAX} are taken; record a shorter time"
        with path.open("rb") as stream:
            start = stream.read(_HEADER_BYTES_MAX)
    except OSError as error:
        return f"{path} can't be read: {error.strerror}"
    return _array_problem(path, start, status.st_size)


def _array_problem(path: Path, start: bytes, size: int) -> str:
    header = _header(start)
    if header is None:
        return f"{path} is no array of operations; {_HOW}"
    shape, dtype, header_bytes = header
    if dtype != OPERATION or len(shape) != 1:
        return f"{path} is an array of something else than operations; {_HOW}"
    expected = header_bytes + shape[0] * OPERATION.itemsize
    if size != expected:
        return f"{path} has {size} bytes, and its header speaks of {expected}: it was cut or changed; make it again"
    return ""


def _header(start: bytes) -> tuple[tuple[int, ...], Any, int] | None:
    """Return shape, type and length of a header of numpy's; None if it is none."""
    stream = io.BytesIO(start)
    try:
        version = npy.read_magic(stream)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, _, dtype = read(stream, max_header_size=_HEADER_BYTES_MAX)
    except (ValueError, KeyError, TypeError, SyntaxError, TokenError, RecursionError, MemoryError):
        return None
    return shape, dtype, stream.tell()
