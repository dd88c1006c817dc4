"""A run in a folder of this machine or of a shared file system."""

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO, TypeVar, cast

import pyarrow as pa

from results.store.files import appearing, sync_directory
from results.store.storage import STAGING, Listed, StoreError

LOCK_FILE: Final = ".lock"
_LOOKS: Final = 5
_LOOK_SECONDS: Final = 0.05
"""A lock is asked for so often, with such pauses: who only looks whether it is free holds it for microseconds."""
T = TypeVar("T")


class LocalStorage:
    """Files below one folder; a name appears by a rename or a link, after its bytes are on the disk."""

    stages = True

    def __init__(self, root: Path) -> None:
        self.root = root
        self.name = str(root)

    def make_folders(self, folders: Iterable[str]) -> None:
        """Make the run's folders."""
        for folder in (*folders, STAGING):
            (self.root / folder).mkdir(parents=True, exist_ok=True)

    def read(self, name: str) -> bytes:
        """Return the bytes of a file."""
        return (self.root / name).read_bytes()

    def open(self, name: str) -> pa.NativeFile:
        """Return a file to read parts of."""
        return pa.OSFile(str(self.root / name))

    def files_in(self, folder: str) -> list[Listed]:
        """Return the files in a folder, by name."""
        found = []
        for path in sorted(self._inside(f"{folder}/file").parent.glob("*")):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            if path.is_file():
                name = path.relative_to(self.root).as_posix()
                found.append(Listed(name=name, bytes=status.st_size, modified=status.st_mtime))
        return found

    def exists(self, name: str) -> bool:
        """Say whether there is such a file."""
        return (self.root / name).exists()

    def size(self, name: str) -> int:
        """Return the bytes that a file has."""
        return (self.root / name).stat().st_size

    def put(self, name: str, content: bytes | pa.Buffer) -> None:
        """Write a file, whole or not at all."""
        self._write(name, content, Path.replace)

    def put_if_absent(self, name: str, content: bytes) -> bool:
        """Write a file, whole; return False and change nothing if it is there."""
        try:
            self._write(name, content, _link)
        except FileExistsError:
            # What is there counts as committed now, so it must survive as well.
            sync_directory((self.root / name).parent)
            return False
        return True

    def _write(self, name: str, content: bytes | pa.Buffer, place: Callable[[Path, Path], object]) -> None:
        (self.root / STAGING).mkdir(parents=True, exist_ok=True)
        path = self._inside(name)
        try:
            with appearing(path, self._inside(f"{STAGING}/file").parent, place=place) as temporary:
                temporary.write_bytes(content)
        except OSError as error:
            # A full disk does not say which file found it full.
            error.filename = error.filename or str(path)
            raise

    def move(self, source: str, target: str) -> None:
        """Give a file another name."""
        place = self._inside(target)
        self._inside(source).replace(place)
        sync_directory(place.parent)

    def delete(self, name: str) -> None:
        """Remove a file; a missing one is no error."""
        self._inside(name).unlink(missing_ok=True)

    def append(self, name: str, lines: str) -> None:
        """Add lines to a log; a log is no result, and a crash may cut its last line."""
        with self._open_log(name, "a") as stream:
            stream.write(lines)

    def lines(self, name: str) -> list[str]:
        """Return the lines of a log."""
        path = self.root / name
        return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []

    def each(self, act: Callable[[str], T], names: Sequence[str]) -> list[T]:
        """Return `act` of every name."""
        return [act(name) for name in names]

    def _inside(self, name: str) -> Path:
        """Return the path of a file that is written, moved, removed or listed.

        Raises:
            StoreError: the name or a link leads out of the run: somebody else made it.
        """
        path = self.root / name
        if not path.parent.resolve().is_relative_to(self.root.resolve()):
            raise StoreError(f"{path}: leads out of the run, to {path.parent.resolve()}. Remove that link")
        return path

    def _open_log(self, name: str, mode: str) -> TextIO:
        path = self._inside(name)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise StoreError(f"{path}: is a link, and a run writes nowhere else. Remove it") from error
        return cast(TextIO, os.fdopen(descriptor, mode, encoding="utf-8"))

    def locate(self, name: str) -> str:
        """Return the path of a file."""
        return str(self.root / name)

    @contextmanager
    def lock(self, holder: Mapping[str, str], *, breaking: bool = False) -> Iterator[None]:
        """Hold the run for this process alone; the system lets go when the process ends, so nothing is to break.

        Raises:
            StoreError: another process holds it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with self._open_log(LOCK_FILE, "a+") as stream:
            try:
                _flock(stream)
            except OSError as error:
                stream.seek(0)
                by = stream.read().strip()
                raise StoreError(
                    f"{self.root}: another `sweep run` is writing here{f' ({by})' if by else ''}; "
                    f"wait for it, or give --out{'. It lives: end it rather than its lock' if breaking else ''}"
                ) from error
            stream.truncate(0)
            stream.write(", ".join(f"{key} {value}" for key, value in holder.items()) + "\n")
            stream.flush()
            yield

    def is_locked(self) -> bool | None:
        """Say whether a process holds the run; None where the file system has no such locks."""
        try:
            with self.root.joinpath(LOCK_FILE).open("rb") as stream:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (BlockingIOError, FileNotFoundError) as error:
            return isinstance(error, BlockingIOError)
        except OSError:
            return None
        return False

    def check_lock(self) -> None:
        """Do nothing: the system keeps the lock for as long as this process lives."""


def _link(file: Path, name: Path) -> None:
    """Give a file a further name; it fails where a rename would replace: of two drivers, one wins, the other knows."""
    try:
        os.link(file, name)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP):
            raise
        raise StoreError(
            f"{name}: this file system has no hard links, which a commit needs. Give --out on another one, or in an "
            "object store"
        ) from error


def _flock(stream: TextIO) -> None:
    """Lock a file for this process alone.

    Raises:
        OSError: somebody else has locked it.
    """
    for look in range(_LOOKS):
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if look == _LOOKS - 1:
                raise
            time.sleep(_LOOK_SECONDS)
        else:
            return
