"""What the store needs of the place where a run is: one protocol, kept by a folder and by a prefix of an object store.

Names are relative to the run and use "/". Nothing here knows tables or commits: that is results/store/manifest.py.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa
    from obstore import UpdateVersion

STAGING: Final = ".tmp"
"""Folder of a run for what is being written; on the file system of the run, so that a rename is one step."""
T = TypeVar("T")


class StoreError(Exception):
    """A run is not what its manifest says, cannot be reached, or two writers disagree."""


class UnreachableError(StoreError):
    """The place of a run refuses, or does not answer any more."""


class NotStagedError(StoreError):
    """A batch is to be committed whose rows are not there."""


class DamageError(StoreError):
    """A file of a run is missing, cut, overwritten, or none of ours; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One file of a run: name, size, and when it was written by the clock of where it is, in seconds since 1970."""

    name: str
    bytes: int
    modified: float


class Storage(Protocol):
    """What the store needs of the place where a run is. A missing file is a FileNotFoundError everywhere."""

    name: str
    """The run as a user types it: a path, or a URL."""
    stages: bool
    """Whether parts wait beside the tables until their commit; else they have their place before it."""

    def make_folders(self, folders: Iterable[str]) -> None:
        """Make the run's folders, where there are folders."""

    def read(self, name: str) -> bytes:
        """Return the bytes of a file."""

    def open(self, name: str) -> "pa.NativeFile":
        """Return a file to read parts of, such as a column of a Parquet file."""

    def files_in(self, folder: str) -> list[Listed]:
        """Return the files in a folder, by name; none if it is not there."""

    def exists(self, name: str) -> bool:
        """Say whether there is such a file."""

    def size(self, name: str) -> int:
        """Return the bytes that a file has."""

    def put(self, name: str, content: "bytes | pa.Buffer") -> None:
        """Write a file, whole or not at all, over what was there."""

    def put_if_absent(self, name: str, content: bytes) -> bool:
        """Write a file, whole; return False and change nothing if it is there."""

    def move(self, source: str, target: str) -> None:
        """Give a file another name."""

    def delete(self, name: str) -> None:
        """Remove a file; a missing one is no error."""

    def append(self, name: str, lines: str) -> None:
        """Add lines, each with its end, to a log."""

    def lines(self, name: str) -> list[str]:
        """Return the lines of a log in the order in which they came; none if it is not there."""

    def each(self, act: Callable[[str], T], names: Sequence[str]) -> list[T]:
        """Return `act` of every name, several at a time where waiting is what takes the time."""

    def locate(self, name: str) -> str:
        """Return the path or URL under which other programs find a file."""

    def lock(self, holder: Mapping[str, str], *, breaking: bool = False) -> AbstractContextManager[None]:
        """Hold the run for this process alone; `breaking` takes the lock from whoever has it.

        Raises:
            StoreError: somebody else holds it.
        """

    def is_locked(self) -> bool | None:
        """Say whether somebody holds the run; None where that can't be told."""

    def check_lock(self) -> None:
        """Raise StoreError if this process has locked the run and lost that lock since."""


class VersionedStorage(Storage, Protocol):
    """What a lease needs beside that: the versions of a file, and a clock that everybody shares."""

    def version(self, name: str) -> "tuple[bytes, UpdateVersion, float]":
        """Return content and version of a file, and when it was written by the clock of where it is."""

    def put_over(self, name: str, content: bytes, version: "UpdateVersion") -> bool:
        """Write a file over the given version of it; return False and change nothing if that is gone."""

    def now(self) -> float:
        """Return what the clock of where the run is says."""


def read_json(storage: Storage, name: str, kind: type[T]) -> T:
    """Return the content of a JSON file of a run.

    Raises:
        FileNotFoundError: there is no such file.
        DamageError: it is no JSON, or holds something else than a `kind`.
    """
    try:
        raw = storage.read(name)
        content = json.loads(raw)
        if b"\\u" in raw:
            # Half of a pair of UTF-16 is no character: no table, page or terminal takes it.
            json.dumps(content, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise DamageError(f"{storage.locate(name)}: no JSON ({error}). Restore the file, or remove the run") from error
    if not isinstance(content, kind):
        raise DamageError(
            f"{storage.locate(name)}: holds {type(content).__name__}, expected {kind.__name__}. Restore the file, or "
            "remove the run"
        )
    return content


def scan_parquet(storage: Storage, names: Sequence[str], schema: "pl.Schema") -> "pl.LazyFrame":
    """Return the rows of files of a run with the columns of `schema`; null where an older version had none.

    Of an object store polars reads the same environment as the storage does.
    """
    import polars as pl

    paths = [storage.locate(name) for name in names]
    return pl.scan_parquet(paths, glob=False, schema=schema, missing_columns="insert", extra_columns="ignore")
