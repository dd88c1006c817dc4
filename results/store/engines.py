"""Which engine the cells of a run are from: cells of two are not comparable, so a run has one."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from results.store.labels import LABELS_FILE
from results.store.lost import PROVENANCE_FILE, has_rows
from results.store.run_store import RunStore
from results.store.storage import DamageError

_JOINED: Final = "+"
"""Between the fingerprints of the engines of a run that an older program merged."""
SEPARATE: Final = "run the sweep into another place with one engine (`sweep run … --out RUN`)"


def engines_of(store: RunStore) -> tuple[str, ...]:
    """Return the fingerprints of the engines that cells of a run are from, by the records of its starts.

    A start that left neither cells nor failures does not count. One that was killed did not say what it left: it counts
    unless nothing is there, or a later start found nothing.
    """
    if not has_rows(store.storage) and not store.storage.files_in("failures"):
        return ()
    records: list[Mapping[str, Any]] = []
    for record in store.provenance():
        if record.get("cells_before") == 0:
            records = [one for one in records if _left(one, "cells_failed", unknown=False)]
        if _left(record, "cells_done", unknown=True) or _left(record, "cells_failed", unknown=True):
            records.append(record)
    joined = (str(record.get("code_fingerprint")) for record in records)
    return tuple(dict.fromkeys(one for text in joined for one in text.split(_JOINED)))


def check_told_apart(store: RunStore) -> None:
    """Do nothing if whoever reads a run under its labels reads cells of one engine.

    Programs before the check of the engine went on with a run under another one, and wrote whose cells count into the
    labels; those that merged two runs gave labels to the cells of both.

    Raises:
        DamageError: cells of two engines would be read as if they were of one.
    """
    engines = engines_of(store)
    if len(engines) > 1 and not are_told_apart(store):
        raise DamageError(f"{store.storage.locate(PROVENANCE_FILE)}: {mixed(engines)}\n  {SEPARATE}")


def are_told_apart(store: RunStore) -> bool:
    """Say whether the labels of a run of several engines are those of the last one alone."""
    joined = any(_JOINED in str(record.get("code_fingerprint")) for record in store.provenance())
    return store.storage.exists(LABELS_FILE) and not joined


def mixed(engines: Iterable[str]) -> str:
    """Say that a run has cells of several engines."""
    return f"cells of the engines {' and '.join(engines)} are in this run, and they are not comparable"


def _left(record: Mapping[str, Any], what: str, *, unknown: bool) -> bool:
    """Say whether a start left any `what`; `unknown` is the answer for one that did not say."""
    tally = record.get("tally")
    return bool(tally.get(what, unknown)) if isinstance(tally, dict) else unknown
