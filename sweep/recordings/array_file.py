"""The array file of a recorded trace: written from an imported one, and looked at before anything reads all of it."""

import io
import json
import stat
from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any, Final

from numpy.lib import format as npy

from engine.operations import OPERATION
from sweep.exit_codes import TraceError

BYTES_MAX: Final = 64 << 30
"""Largest recording that is taken (assumption): at some 1 GB/s a minute of hashing before anything starts."""
_HEADER_BYTES_MAX: Final = 4096
"""Beginning of a file in which the header of an array of operations ends; numpy writes some 200 bytes."""
NOTES_MARK: Final = b"shadowsweep-unsound\n"
"""What stands between the operations of an unsound recording and its reasons, a JSON list of texts."""
NOTES_BYTES_MAX: Final = 1 << 16
"""Longest reasons with their mark; an import gives some 300 bytes for each of a dozen reasons."""
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


def encode_notes(reasons: Sequence[str]) -> bytes:
    """Return what stands behind the operations of an unsound recording, so that its reasons go where the file goes."""
    return NOTES_MARK + json.dumps(list(reasons)).encode() if reasons else b""


def unsound_reasons_of(path: Path) -> tuple[str, ...]:
    """Return why a recording that can be replayed is unsound; nothing if it is sound.

    Raises:
        OSError: the file can't be read.
    """
    with path.open("rb") as stream:
        header = _header(stream.read(_HEADER_BYTES_MAX))
        if header is None:
            return ()
        stream.seek(_end_of_operations(header))
        return _decode_notes(stream.read(NOTES_BYTES_MAX)) or ()


def _decode_notes(content: bytes) -> tuple[str, ...] | None:
    """Return the reasons behind the operations of a file; None if it is something else that stands there."""
    if not content:
        return ()
    try:
        reasons = json.loads(content.removeprefix(NOTES_MARK))
    except (ValueError, RecursionError):
        return None
    is_list = content.startswith(NOTES_MARK) and isinstance(reasons, list) and bool(reasons)
    return tuple(reasons) if is_list and all(isinstance(one, str) and one.isprintable() for one in reasons) else None


def _end_of_operations(header: tuple[tuple[int, ...], Any, int]) -> int:
    shape, _, header_bytes = header
    return header_bytes + shape[0] * OPERATION.itemsize


def _array_problem(path: Path, start: bytes, size: int) -> str:
    header = _header(start)
    if header is None:
        return f"{path} is no array of operations; {_HOW}"
    shape, dtype, _ = header
    if dtype != OPERATION or len(shape) != 1:
        return f"{path} is an array of something else than operations; {_HOW}"
    expected = _end_of_operations(header)
    if not 0 <= size - expected <= NOTES_BYTES_MAX or not _has_notes_or_nothing(path, expected):
        return f"{path} has {size} bytes, and its header speaks of {expected}: it was cut or changed; make it again"
    return ""


def _has_notes_or_nothing(path: Path, place: int) -> bool:
    with path.open("rb") as stream:
        stream.seek(place)
        return _decode_notes(stream.read(NOTES_BYTES_MAX)) is not None


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


def write_array(trace: Path, output: Path) -> int:
    """Write the operations of a trace to an array file, chunk by chunk; return their number.

    The reasons why a trace is unsound stand behind the operations in the same file, so that no copy of it loses them.

    Raises:
        TraceError: the trace can't be used, or the array can't be written.
    """
    from sweep.recordings.soundness import unsound_reasons_of_source
    from sweep.recordings.source import is_parquet
    from sweep.recordings.store import OperationFile, trace_file

    if not is_parquet(trace):
        raise TraceError(f"{trace}: is no imported trace; first do: sweep trace import {trace}")
    source = OperationFile(trace)
    if source.source.get("format") == "perf" and "unsound" not in source.source:
        raise TraceError(f"{trace}: was imported before recordings were checked; import the recording again")
    reasons = unsound_reasons_of_source(source.source)
    place = 0
    with trace_file(output) as temporary:
        array = npy.open_memmap(temporary, mode="w+", dtype=OPERATION, shape=(source.rows,))
        for chunk in source.chunks():
            array[place : place + len(chunk)] = chunk
            place += len(chunk)
        array.flush()
        with temporary.open("ab") as stream:
            stream.write(encode_notes(reasons))
    return place
