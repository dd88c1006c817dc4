"""Where runs are and how they are opened and held, with errors of results told as errors of use."""

import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sweep.exit_codes import DamagedError, SweepError

if TYPE_CHECKING:
    from results.store.run_store import RunStore

RUNS: Final = Path("runs")
_REFUSALS: Final = frozenset({"ArrowException", "PolarsError", "PanicException"})
"""Bases of what pyarrow and polars raise when the bytes of a table make no sense; neither is loaded for their names."""


def run_location(sweep: str, out: str | None) -> str:
    """Return where the results of a sweep of that name go: a folder, or a URL in its one spelling."""
    from results.store.opening import checked_url, is_url

    if out is None:
        return str(RUNS / sweep)
    with results_errors():
        return checked_url(out) if is_url(out) else out


def neighbours(run: str) -> Path:
    """Return the folder whose runs tell what batches take."""
    from results.store.opening import is_url

    return RUNS if is_url(run) else Path(run).parent


@contextmanager
def results_errors(*runs: str) -> Iterator[None]:
    """Turn what results/ can't use into an error without a traceback; `runs` are those that are read meanwhile."""
    from results.statistics.pairing import ComparisonError
    from results.store.schema import SchemaError
    from results.store.storage import DamageError, StoreError

    try:
        yield
    except DamageError as error:
        raise DamagedError(f"{error}\n  `sweep fsck` lists all that is damaged") from error
    except (SchemaError, StoreError, ComparisonError) as error:
        raise SweepError(str(error)) from error
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise SweepError(
            f"{error.filename}: {error.strerror}\n  a run is a folder that you may write, or a URL: give another place"
        ) from error
    except BaseException as error:
        # What a thread of polars dies of is no Exception.
        if _is_refusal(error):
            _find_damage(runs)
        raise


def _is_refusal(error: BaseException) -> bool:
    """Say whether a library that reads tables refused one."""
    if isinstance(error, OSError):
        return error.errno is None
    return any(base.__name__ in _REFUSALS for base in type(error).__mro__)


def _find_damage(runs: tuple[str, ...]) -> None:
    """Raise DamagedError if a file of a run is damaged: the library that met it told neither its name nor a reason."""
    from results.store.run_store import RunStore
    from results.upkeep.fsck import Level, check_run

    for run in runs:
        store = RunStore(run)
        with results_errors():
            findings = check_run(store).findings
        for finding in findings:
            if finding.level is Level.DAMAGE:
                place = store.storage.locate(finding.place)
                raise DamagedError(f"{place}: {finding.what}\n  {finding.then}\n  `sweep fsck {run}` lists all")


def open_store(run: str, *, damaged: bool = False) -> "RunStore":
    """Return the store of a run that must be there, and sound unless a `damaged` one will do."""
    from results.store.labels import check_labels
    from results.store.run_store import RunStore
    from results.store.soundness import check_sound
    from sweep.runs import check_resolved

    with results_errors():
        store = RunStore(run)
        check_resolved(store.spec(), store.storage.locate("spec.json"))
        if not damaged:
            check_sound(store)
            check_labels(store)
    return store


def check_engine(store: "RunStore", fingerprint: str) -> None:
    """Do nothing if cells of the engine of that fingerprint may be added to a run.

    Raises:
        SweepError: the run has cells of another engine.
    """
    from results.store.engines import engines_of

    with results_errors():
        engines = engines_of(store)
    if set(engines) - {fingerprint}:
        raise SweepError(
            f"{store.name}: its cells are of the engine {' and '.join(engines)}, and this is the engine {fingerprint}: "
            "cells of two engines are not comparable, so a run has one\n"
            "  go on with the sources that it was begun with, give the sweep another place (sweep run … --out RUN), or "
            "remove this run\n"
            "  what reads runs, such as `sweep summarize`, still reads it"
        )


@contextmanager
def locked(store: "RunStore", *, breaking: bool = False) -> Iterator[None]:
    """Hold a run, as a driver does, while its files are changed."""
    with results_errors(), store.storage.lock(driver_facts(), breaking=breaking):
        yield


def driver_facts() -> dict[str, str]:
    """Return what a lock says about who holds it."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"host": platform.node(), "pid": str(os.getpid()), "since": since}


_TEXTS: Final = ("name", "baseline", "costs")
_LISTS: Final[Mapping[str, tuple[str, ...]]] = {"workloads": ("name", "label"), "policies": ("name",), "guests": ()}
"""List of a specification -> the texts that each of its entries has."""


def check_resolved(spec: Mapping[str, Any], place: str) -> None:
    """Do nothing if `spec` has what verbs read of it, in the right shape.

    Raises:
        DamagedError: it has not; `place` is the file that holds it.
    """
    problems = list(spec_problems(spec))
    if problems:
        raise DamagedError(
            f"{place}: no specification of a sweep: {'; '.join(problems)}\n"
            "  restore the file, or go on with `sweep run` and the sweep's YAML file"
        )


def spec_problems(spec: Mapping[str, Any]) -> Iterator[str]:
    """Yield what verbs read of a specification and `spec` has not, or has in another shape."""
    yield from (f"{key} is no text" for key in _TEXTS if not isinstance(spec.get(key), str))
    for key, texts in _LISTS.items():
        entries = spec.get(key)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            yield f"{key} is no list of mappings"
        elif not all(isinstance(entry.get(text), str) for entry in entries for text in texts):
            yield f"{key}: an entry has no {' or no '.join(texts)}"
        elif not all(isinstance(entry.get("knobs", {}), dict) for entry in entries):
            yield f"{key}: an entry's knobs are no mapping"
        elif not all(_is_list_of_texts(entry.get("unsound", [])) for entry in entries):
            yield f"{key}: an entry's unsound is no list of texts"


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)
