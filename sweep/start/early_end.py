"""How a start of a sweep ends when it does not end by itself: nothing is left, the run knows, the user can go on."""

import errno
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sweep.backends.contract import Backend, ClusterLostError
from sweep.start.driver import StorageError
from sweep.start.keeper import Tally

if TYPE_CHECKING:
    from results.store.run_store import RunStore

_DISK: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})
"""What a file system says when it takes no more."""


@contextmanager
def ways_on(run: str, command: str) -> Iterator[None]:
    """Say with every error that ends a sweep in the middle how to go on."""
    hint = f"\n  what was finished is kept. To go on: {command}"
    try:
        yield
    except (StorageError, ClusterLostError) as error:
        raise type(error)(f"{error}{hint}") from error
    except OSError as error:
        if error.errno not in _DISK:
            raise
        raise StorageError(f"{error.filename or run}: {error.strerror or error}{hint}") from error


@contextmanager
def reaching() -> Iterator[None]:
    """Tell a place that goes away after the sweep took it from one that was never there."""
    from results.store.storage import UnreachableError

    try:
        yield
    except UnreachableError as error:
        raise StorageError(str(error)) from error


@contextmanager
def leaving(store: "RunStore", backend: Backend) -> Iterator[None]:
    """End the backend at the end, and remove what its workers have staged for nobody.

    If the end is an error, it is that one that is raised, whatever else goes wrong.
    """
    from results.store.storage import StoreError

    try:
        yield
    except BaseException:
        with suppress(OSError, StoreError):
            _leave(store, backend)
        raise
    _leave(store, backend)


@contextmanager
def noting_the_end(store: "RunStore", tally: Tally) -> Iterator[None]:
    """Let the run say that its driver ended, if an error is what ends it and the run can still be written."""
    from results.store.storage import StoreError

    begun = len(store.provenance()) if store.exists() else 0
    started = time.perf_counter()
    try:
        yield
    except BaseException:
        tally.wall_seconds = time.perf_counter() - started
        with suppress(OSError, StoreError):
            records = store.provenance()
            if len(records) > begun:
                store.write_provenance(with_end(records, tally))
        raise


def with_end(records: list[dict[str, Any]], tally: Tally, **facts: Any) -> list[dict[str, Any]]:
    """Return a run's records with the end of the last start."""
    totals = {key: value for key, value in asdict(tally).items() if key != "causes"}
    return [*records[:-1], {**records[-1], "ended": now(), "tally": totals, **facts}]


def now() -> str:
    """Return the time as records have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def say(text: str) -> None:
    """Print a note; results go to stdout, all else to stderr."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201  This is where notes are printed.


def _leave(store: "RunStore", backend: Backend) -> None:
    try:
        backend.close()
    finally:
        store.remove_orphans()
