"""Files that are whole or absent: what programs and crashes see of a name is its old bytes or its new ones."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to; at the end the file is put on the disk and renamed.

    Whatever goes wrong before that leaves neither of the two.

    Raises:
        OSError: the folder is not there, or takes no more.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        sync_file(temporary)
        temporary.replace(path)
        sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file as `written_whole` does."""
    with written_whole(path) as temporary:
        temporary.write_bytes(content)


def sync_file(path: Path) -> None:
    """Ask the operating system to put the bytes of a file on the disk."""
    _sync(path, os.O_RDWR)


def sync_directory(path: Path) -> None:
    """Ask the operating system to put the names in `path` on the disk."""
    _sync(path, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
