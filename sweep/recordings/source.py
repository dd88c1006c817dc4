"""Text of a recording as blocks of whole lines: plain, gzip or zstd, from a file or a pipe, hashed as it is read."""

import hashlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self, cast

import pyarrow as pa

from sweep.exit_codes import TraceError

BLOCK_BYTES: Final = 1 << 21
"""Also the longest line: perf's lines hold at most a path of 4,096 bytes."""
STANDARD_INPUT: Final = Path("-")
DIGEST_BYTES: Final = 32
_READ_BYTES: Final = 1 << 16
_COMPRESSION_MAGIC: Final = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_PLAIN: Final = "plain"
_PARQUET_MAGIC: Final = b"PAR1"
_PERF_DATA_MAGIC: Final = (b"PERFILE2", b"2ELIFREP", b"PERFFILE")
_MAGIC_BYTES: Final = 8


class _HashedFile(io.RawIOBase):
    """A file whose digest is known once all of it was read."""

    def __init__(self, raw: BinaryIO) -> None:
        """Read through an open file."""
        super().__init__()
        self._raw = raw
        self.digest = hashlib.blake2b(digest_size=DIGEST_BYTES)

    def readable(self) -> bool:
        """Tell io that this can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer and hash what was read."""
        count = cast(Any, self._raw).readinto(buffer)
        self.digest.update(memoryview(buffer)[:count])
        return int(count)


def is_parquet(path: Path) -> bool:
    """Tell whether a file is Parquet, by its first bytes."""
    if path == STANDARD_INPUT:
        return False
    with _open(path) as file:
        return file.read(len(_PARQUET_MAGIC)) == _PARQUET_MAGIC


class TextSource:
    """An open recording. `line_count` counts the whole lines given out so far, for messages."""

    def __init__(self, path: Path) -> None:
        """Open a file, or standard input for `-`, and find out how it is compressed."""
        self.name = "standard input" if path == STANDARD_INPUT else path.name
        self.line_count = 0
        self._file = sys.stdin.buffer if path == STANDARD_INPUT else _open(path)
        self._hashed = _HashedFile(self._file)
        self._buffered = io.BufferedReader(self._hashed, _READ_BYTES)
        self._stream: Any = self._decompressed()

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the file."""
        if self._file is not sys.stdin.buffer:
            self._file.close()

    @property
    def digest(self) -> str:
        """Return blake2b of the file as it is stored; final after the last block."""
        return self._hashed.digest.hexdigest()

    def blocks(self) -> Iterator[bytes]:
        """Yield whole lines, about 2 MiB at a time."""
        buffer = bytearray(BLOCK_BYTES)
        view = memoryview(buffer)
        filled = 0
        while True:
            count = self._read_into(view, filled)
            filled += count
            if count and filled < BLOCK_BYTES:
                continue
            whole = buffer.rfind(b"\n", 0, filled) + 1
            if not whole and filled == BLOCK_BYTES:
                raise TraceError(
                    f"{self.name}:{self.line_count + 1}: the line has more than {BLOCK_BYTES} bytes: "
                    "this is no text of `perf script`",
                )
            if whole:
                yield bytes(view[:whole])
                self.line_count += buffer.count(b"\n", 0, whole)
            rest = bytes(view[whole:filled])
            if not count:
                self._check_end(rest)
                return
            filled = len(rest)
            view[:filled] = rest

    def _check_end(self, rest: bytes) -> None:
        """Refuse a file whose last line is cut off."""
        if rest:
            shown = rest[:160].decode(errors="backslashreplace").strip()
            raise TraceError(
                f"{self.name}:{self.line_count + 1}: the file is truncated: its last line does not end: {shown}\n"
                "Run `perf script` again, or drop the last line if you know that nothing else is missing.",
            )

    def _read_into(self, view: memoryview, filled: int) -> int:
        """Read some text behind what is there already; 0 at the end."""
        try:
            return int(self._stream.readinto(view[filled : filled + _READ_BYTES]) or 0)
        except (OSError, pa.ArrowException) as error:
            line = self.line_count + bytes(view[:filled]).count(b"\n")
            if self._compression == _PLAIN:
                raise TraceError(f"{self.name}: can't be read after line {line}: {error}") from error
            found = "truncated" if "truncated" in str(error).lower() else "damaged"
            raise TraceError(
                f"{self.name}: the {self._compression} file is {found}: line {line} is the last that could be read\n"
                "Copy the file again or compress the recording anew; nothing was imported.",
            ) from error

    def _decompressed(self) -> Any:
        """Choose how to read by the first bytes."""
        head = self._buffered.peek(_MAGIC_BYTES)[:_MAGIC_BYTES]
        if head.startswith(_PERF_DATA_MAGIC):
            raise TraceError(
                f"{self.name}:1: this is the binary file of `perf record`; make text of it first:\n"
                f"  perf script -i {self.name} --show-task-events --show-mmap-events --show-switch-events "
                "--show-lost-events -F comm,pid,tid,cpu,time,event,trace",
            )
        if head.startswith(_PARQUET_MAGIC):
            raise TraceError(f"{self.name}:1: this is Parquet, not text of `perf script`; try `sweep trace info`")
        found = [name for magic, name in _COMPRESSION_MAGIC.items() if head.startswith(magic)]
        self._compression = found[0] if found else _PLAIN
        if not found:
            return self._buffered
        return pa.CompressedInputStream(pa.PythonFile(self._buffered, mode="r"), self._compression)


def _open(path: Path) -> BinaryIO:
    """Open a file to read, unbuffered, or say why not."""
    try:
        return cast(BinaryIO, path.open("rb", buffering=0))
    except OSError as error:
        raise TraceError(f"{path}: can't be opened: {error.strerror}; check the path and its permissions") from error
