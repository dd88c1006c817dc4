"""Files that are whole or absent: what programs and crashes see of a name is its old bytes or its new ones."""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name beside `path`, put it on the disk, and rename it.

    Raises:
        OSError: the folder is not there, or takes no more.
    """
    with appearing(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def appearing(
    path: Path, folder: Path | None = None, *, place: Callable[[Path, Path], object] = Path.replace
) -> Iterator[Path]:
    """Give the name under which a file is to be written; at the end it goes on the disk and is renamed to `path`.

    Nothing of it is left where the block raises. `folder` is another one than that of `path`, on its file system;
    `place` stands for the rename, as `os.link` does where the name must not be there yet.
    """
    temporary = (folder or path.parent) / f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        yield temporary
        sync_file(temporary)
        place(temporary, path)
        sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


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
