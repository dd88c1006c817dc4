"""Where runs are and how they are opened and held, with errors of results told as errors of use."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sweep.exit_codes import SweepError

if TYPE_CHECKING:
    from results.store import RunStore
    from sweep.spec import SweepSpec

RUNS: Final = Path("runs")
_REFUSALS: Final = frozenset({"ArrowInvalid", "ComputeError"})
"""What pyarrow and polars raise when the bytes of a table make no sense."""


def run_location(spec: "SweepSpec", out: str | None) -> str:
    """Return where a sweep's results go: a folder, or a URL in its one spelling."""
    from results.storage import checked_url, is_url

    if out is None:
        return str(RUNS / spec.name)
    with results_errors():
        return checked_url(out) if is_url(out) else out


def neighbours(run: str) -> Path:
    """Return the folder whose runs tell what batches take."""
    from results.storage import is_url

    return RUNS if is_url(run) else Path(run).parent


@contextmanager
def results_errors() -> Iterator[None]:
    """Turn what results/ can't use into an error without a traceback."""
    from results.manifest import StoreError
    from results.schema import SchemaError
    from results.summary import ComparisonError

    try:
        yield
    except (SchemaError, StoreError, ComparisonError) as error:
        raise SweepError(str(error)) from error
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise SweepError(
            f"{error.filename}: {error.strerror}\n  a run is a folder that you may write, or a URL: give another place"
        ) from error
    except Exception as error:
        if not _is_damage(error):
            raise
        text = next(iter(str(error).splitlines()), type(error).__name__)
        raise SweepError(
            f"the run's tables can't be read: {text}\n  a file of it is damaged or was not written by this program: "
            "see `sweep fsck`"
        ) from error


def _is_damage(error: Exception) -> bool:
    """Say whether a library that reads tables refused one; neither is loaded unless a table was read."""
    if isinstance(error, OSError):
        return error.errno is None
    return type(error).__name__ in _REFUSALS


def open_store(run: str) -> "RunStore":
    """Return the store of a run that must be there."""
    from results.store import RunStore
    from sweep.resolved import check_resolved

    with results_errors():
        store = RunStore(run)
        check_resolved(store.spec(), store.storage.locate("spec.json"))
    return store


@contextmanager
def locked(store: "RunStore", *, breaking: bool = False) -> Iterator[None]:
    """Hold a run, as a driver does, while its files are changed."""
    with results_errors(), store.storage.lock(driver_facts(), breaking=breaking):
        yield


def driver_facts() -> dict[str, str]:
    """Return what a lock says about who holds it."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"host": platform.node(), "pid": str(os.getpid()), "since": since}
