"""What a run can lose beside the bytes of its parts: commits, its specification, the record of its starts.

A part whose commit was lost looks much like one that a crash has left before its commit; this is the rule that tells
them apart. In a folder a part goes beside the tables only after its commit, and a commit goes only after its parts. So
a file there that no commit names, not even one that another commit takes the place of, had one. In an object store
parts have their place before their commit; there `latest.json` tells: what it lists was committed. What is staged, or
in an object store was committed since `latest.json` was written, can't be told from what never was: its cells are
simulated again.

A file that had a commit is no loss if all its cells are in others: such a one comes back when the machine stops while a
compaction removes it.
"""

import json
from collections.abc import Callable, Collection, Sequence
from typing import Final

import numpy as np

from results.store.cell_ids import CellIds, Fixed, fixed
from results.store.manifest import LATEST_FILE, Manifest, ManifestEntry, without_hidden
from results.store.parts import PART_TABLES, read_rows
from results.store.storage import STAGING, DamageError, Storage

SPEC_FILE: Final = "spec.json"
PROVENANCE_FILE: Final = "provenance.json"
COSTS_FILE: Final = "costs.json"
"""The cost model that the specification names, as the last start of the sweep read it."""
LOST: Final = "no commit names this file, and it holds cells that no other has: its entry in manifest/ is lost"
REPLACE: Final = (
    "Nobody can tell any more what they are: restore the file from a copy, or remove the run and run the sweep again"
)
GET_BACK: Final = (
    "restore the manifest from a copy; without one, move the file out of the run and run the sweep again: it simulates "
    "those cells once more"
)


def check_begun(storage: Storage) -> None:
    """Do nothing if a run that has rows has its specification and the record of its starts.

    Raises:
        DamageError: there are commits or parts, and one of the two is missing.
    """
    lost = [name for name in (SPEC_FILE, PROVENANCE_FILE) if not storage.exists(name)]
    if lost and has_rows(storage):
        raise DamageError(f"{storage.locate(lost[0])}: missing, and the run has rows. {REPLACE}")


def has_rows(storage: Storage) -> bool:
    """Say whether there are commits or parts."""
    return any(storage.files_in(folder) for folder in (Manifest.folder, *PART_TABLES))


def files_of_parts(storage: Storage) -> list[str]:
    """Return all files where parts are staged and kept, whether they count or not."""
    folders = (STAGING, *PART_TABLES)
    return sorted(listed.name for folder in folders for listed in storage.files_in(folder))


def orphans(manifest: Manifest) -> list[str]:
    """Return the files that no commit which counts names."""
    known = {manifest.find(part) for entry in manifest.live() for part in entry.parts}
    return [name for name in files_of_parts(manifest.storage) if name not in known]


def check_commits(manifest: Manifest, names: Collection[str]) -> None:
    """Do nothing if none of some files of a run holds rows whose commit was lost.

    Raises:
        DamageError: one does; the message names the first one.
    """
    lost = lost_parts(manifest, names)
    if lost:
        others = f" (and {len(lost) - 1} more files)" if len(lost) > 1 else ""
        raise DamageError(f"{manifest.storage.locate(lost[0])}: {LOST}{others}\n  {GET_BACK}")


def lost_parts(
    manifest: Manifest, names: Collection[str], read_commits: Callable[[], Sequence[ManifestEntry]] | None = None
) -> list[str]:
    """Return those of some files of a run whose commit was lost; a driver may be at work meanwhile.

    `read_commits` returns all commits that can be read, where others are there as well.
    """
    storage = manifest.storage
    suspects = _once_committed(storage, names)
    if not suspects:
        return []
    # After the files were listed: what had its place by then had its commit by then.
    commits = (read_commits or manifest.committed)()
    named = {part.path for entry in commits for part in entry.parts}
    # Before a commit goes, its files go.
    unnamed = [name for name in suspects if name not in named and storage.exists(name)]
    if not unnamed:
        return []
    parts = [part for entry in without_hidden(commits) for part in entry.parts if part.table == "cells"]
    places = [name for part in parts for name in (part.path, manifest.staged(part)) if storage.exists(name)]
    there = CellIds.joined([ids for name in places if (ids := _cells_of(storage, name)) is not None])
    return [name for name in unnamed if _adds_cells(storage, name, there)]


def _once_committed(storage: Storage, names: Collection[str]) -> list[str]:
    """Return the files that were committed some time, as far as that can be told."""
    kept = [name for name in names if not name.startswith(f"{STAGING}/")]
    if storage.stages or not kept:
        return kept
    try:
        tables = json.loads(storage.read(LATEST_FILE))["files"]
        listed = {name for files in tables.values() for name in files}
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamageError(
            f"{storage.locate(LATEST_FILE)}: no list of files ({error}). Remove it: the next start writes it again"
        ) from error
    return [name for name in kept if name in listed]


def _adds_cells(storage: Storage, name: str, there: CellIds) -> bool:
    """Say whether a file has cells that are not there; of one that can't be read nobody knows."""
    ids = _cells_of(storage, name)
    return ids is None or not bool(np.all(there.holds(ids)))


def _cells_of(storage: Storage, name: str) -> Fixed | None:
    """Return the cells that a file has rows of, or None if it can't be read."""
    try:
        rows = read_rows(storage, name, ["cell_id"])
    except (DamageError, FileNotFoundError):
        return None
    return fixed(rows["cell_id"].unique().to_pylist())
