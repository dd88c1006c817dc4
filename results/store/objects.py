"""A run below a prefix of an object store: Amazon S3 and what speaks its protocol, or Google Cloud Storage.

Credentials, region and endpoint come from the environment (docs/how-to/use-an-object-store.md) and are kept nowhere.
"""

import io
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pyarrow as pa
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import from_url

from results.store.lease import LEASE_FILE, STALE_SECONDS, Lease
from results.store.storage import STAGING, Listed, StoreError, UnreachableError

if TYPE_CHECKING:
    from obstore import UpdateVersion

PARALLEL: Final = 32
"""Requests under way at once: each waits some 10 to 100 ms for the store, and the machine does nothing meanwhile."""
RETRY_SECONDS: Final = 60
"""How long a request is tried again, with growing pauses, while a store that has answered before gives no answer."""
_RETRIES: Final = 60
"""More than fit into that time: pauses begin with 0.1 s and double up to 15 s (obstore's defaults)."""
_FIRST_RETRIES: Final = 4
"""Until a store has answered: an endpoint that is mistyped is to be known within some 2 s."""
_ANSWERS: Final = (FileNotFoundError, AlreadyExistsError, PreconditionError)
T = TypeVar("T")


class ObjectStorage:
    """Objects below one prefix; each is put whole by one request, and is there for everyone when that returns."""

    stages = False

    def __init__(self, url: str) -> None:
        self.name = url
        self._answers = False
        with self._told(""):
            self._patient, self._quick = _client(url, _RETRIES), _client(url, _FIRST_RETRIES)
        self._answers = False
        self._lease: Lease | None = None

    @property
    def _store(self) -> Any:
        """Return the client for the next request: one that waits for a store which has answered the last one."""
        return self._patient if self._answers else self._quick

    def make_folders(self, folders: Iterable[str]) -> None:
        """Do nothing: a prefix is there with its first object."""

    def read(self, name: str) -> bytes:
        """Return the bytes of an object."""
        with self._told(name):
            return bytes(self._store.get(name).bytes())

    def open(self, name: str) -> pa.NativeFile:
        """Return a file that fetches the ranges that are read."""
        return pa.PythonFile(_Ranges(self, name), mode="r")

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """Return some bytes of an object."""
        with self._told(name):
            return bytes(self._store.get_range(name, start=start, length=length))

    def files_in(self, folder: str) -> list[Listed]:
        """Return the objects in a folder, by name."""
        with self._told(folder):
            found = self._store.list_with_delimiter(folder)["objects"]
        listed = [Listed(name=o["path"], bytes=o["size"], modified=o["last_modified"].timestamp()) for o in found]
        return sorted(listed, key=lambda one: one.name)

    def exists(self, name: str) -> bool:
        """Say whether there is such an object."""
        try:
            self.size(name)
        except FileNotFoundError:
            return False
        return True

    def size(self, name: str) -> int:
        """Return the bytes that an object has."""
        with self._told(name):
            return int(self._store.head(name)["size"])

    def put(self, name: str, content: bytes | pa.Buffer) -> None:
        """Write an object over what was there."""
        with self._told(name, writes=True):
            # One request, whatever the size: an upload in pieces could leave pieces.
            self._store.put(name, memoryview(content).cast("B"), use_multipart=False)

    def put_if_absent(self, name: str, content: bytes) -> bool:
        """Write an object; return False and change nothing if it is there."""
        with self._told(name, writes=True):
            try:
                self._store.put(name, content, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
        return True

    def version(self, name: str) -> "tuple[bytes, UpdateVersion, float]":
        """Return content and version of an object, and when it was written by the store's clock."""
        with self._told(name):
            found = self._store.get(name)
            content, meta = bytes(found.bytes()), found.meta
        version: UpdateVersion = {}
        if meta["e_tag"] is not None:
            version["e_tag"] = meta["e_tag"]
        if meta["version"] is not None:
            version["version"] = meta["version"]
        return content, version, meta["last_modified"].timestamp()

    def now(self) -> float:
        """Return what the store's clock says, by writing something there and looking when that was."""
        probe = f"{STAGING}/clock.{secrets.token_hex(4)}"
        self.put(probe, b"")
        with self._told(probe):
            written = self._store.head(probe)["last_modified"]
        self.delete(probe)
        return float(written.timestamp())

    def put_over(self, name: str, content: bytes, version: "UpdateVersion") -> bool:
        """Write an object over the given version of it; return False and change nothing if that is gone."""
        with self._told(name):
            try:
                self._store.put(name, content, mode=version, use_multipart=False)
            except (PreconditionError, FileNotFoundError):
                return False
        return True

    def move(self, source: str, target: str) -> None:
        """Give an object another name: a copy, then a removal."""
        with self._told(source):
            self._store.rename(source, target)

    def delete(self, name: str) -> None:
        """Remove an object; a missing one is no error."""
        with self._told(name):
            try:
                self._store.delete(name)
            except FileNotFoundError:
                return

    def append(self, name: str, lines: str) -> None:
        """Add lines to a log: an object of their own, named by the time, for objects don't grow."""
        self.put(f"{name}/{time.time_ns():020d}-{secrets.token_hex(4)}", lines.encode())

    def lines(self, name: str) -> list[str]:
        """Return the lines of a log."""
        pieces = self.each(self.read, [one.name for one in self.files_in(name)])
        return [line for piece in pieces for line in piece.decode(errors="replace").splitlines()]

    def each(self, act: Callable[[str], T], names: Sequence[str]) -> list[T]:
        """Return `act` of every name, several at a time."""
        if len(names) < 2:
            return [act(name) for name in names]
        with ThreadPoolExecutor(min(PARALLEL, len(names))) as pool:
            return list(pool.map(act, names))

    def locate(self, name: str) -> str:
        """Return the URL of an object."""
        return f"{self.name}/{name}"

    @contextmanager
    def lock(self, holder: Mapping[str, str], *, breaking: bool = False) -> Iterator[None]:
        """Hold the run by a lease; see results/store/lease.py."""
        lease = Lease(self, holder)
        with lease.held(breaking=breaking):
            self._lease = lease
            try:
                yield
            finally:
                self._lease = None

    def is_locked(self) -> bool | None:
        """Say whether somebody has a lease of the run and gives signs, by this machine's clock."""
        try:
            with self._told(LEASE_FILE):
                renewed = float(self._store.head(LEASE_FILE)["last_modified"].timestamp())
        except FileNotFoundError:
            return False
        return time.time() - renewed <= STALE_SECONDS

    def check_lock(self) -> None:
        """Raise StoreError if the lease that this process took has gone to another one."""
        if self._lease is not None and not self._lease.is_ours():
            raise StoreError(
                f"{self.name}: another driver has taken over this run while this one gave no sign. What this one "
                "committed is kept; leave the rest to the other one"
            )

    @contextmanager
    def _told(self, name: str, *, writes: bool = False) -> Iterator[None]:
        """Turn what the store refuses into an error that says what to do; a missing object stays what it is.

        For a request that `writes` what is missing is the bucket.
        """
        try:
            yield
        except (BaseError, OSError) as error:
            self._answers = isinstance(error, _ANSWERS)
            if self._answers and not (writes and isinstance(error, FileNotFoundError)):
                raise
            raise UnreachableError(
                f"{self.locate(name)}: {_reason(error)}. Check that the bucket is there, and what the environment says "
                "about it (docs/how-to/use-an-object-store.md)"
            ) from None
        self._answers = True


def _client(url: str, retries: int) -> Any:
    options: Any = {
        "client_options": {"allow_http": _endpoint_is_plain()},
        "retry_config": {"max_retries": retries, "retry_timeout": timedelta(seconds=RETRY_SECONDS)},
    }
    return from_url(url, **options)


def _reason(error: Exception) -> str:
    """Return what went wrong without the answer's body, which may repeat what was sent to identify oneself."""
    text = str(error)
    code = re.search(r"<Code>(\w+)</Code>", text)
    said = re.sub(r"\s+", " ", re.split(r"\n\nDebug source:|:? *<", text)[0])[:500]
    return f"{code[1]} ({said})" if code else f"{type(error).__name__}: {said}"


class _Ranges(io.RawIOBase):
    """An object as a file that can seek: what is read is asked for by range."""

    def __init__(self, storage: ObjectStorage, name: str) -> None:
        self._storage, self._name = storage, name
        self._size, self._at = storage.size(name), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        length = max(0, min(len(buffer), self._size - self._at))
        if length:
            buffer[:length] = self._storage.read_range(self._name, self._at, length)
            self._at += length
        return length


def _endpoint_is_plain() -> bool:
    """Say whether the environment names an endpoint without encryption: whoever names it so means it."""
    names = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3")
    return any(os.environ.get(name, "").startswith("http://") for name in names)
