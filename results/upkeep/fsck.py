"""Is a run what its manifest says? Every commit and every byte of it, and what a crash has left to tidy up.

Nothing here wakes a thread of Arrow: one that still holds an object of Python when the interpreter ends can abort the
process (https://github.com/apache/arrow/issues/34314, https://github.com/apache/arrow/issues/45017), and no verb ends
sooner after its last read than this one.
"""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from results.prices.own_costs import own_costs
from results.store.cell_ids import CellIds, Fixed, fixed
from results.store.columns import SORT_KEYS
from results.store.engines import SEPARATE, are_told_apart, engines_of, mixed
from results.store.labels import LABELS_FILE, LABELS_LOST, has_lost_labels
from results.store.lost import COSTS_FILE, GET_BACK, LOST, PROVENANCE_FILE, SPEC_FILE, files_of_parts, lost_parts
from results.store.manifest import ManifestEntry, read_entry, without_hidden
from results.store.parts import PART_TABLES, REQUIRED_TABLES, Part
from results.store.run_store import RunStore
from results.store.schema import SchemaError, check_footer, stored_names, table_schema
from results.store.soundness import MISSING, RESTORE, other_bytes
from results.store.storage import DamageError, StoreError
from results.wording import counted

_SHOWN: Final = 3
"""Cells that a finding names; it says how many there are."""


class Level(StrEnum):
    """What a finding means for whoever reads the run."""

    DAMAGE = "damage"
    """Rows are missing or wrong."""
    LEFTOVER = "leftover"
    """Readers pass over it; `sweep gc` or the next start of the sweep tidies up."""
    ADVICE = "advice"
    """All is well and could be better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a check found."""

    level: Level
    place: str
    what: str
    then: str
    """What to do about it."""


@dataclass(slots=True, kw_only=True)
class Checkup:
    """What a check of a run has seen and found."""

    run: str
    commits: int = 0
    files: int = 0
    bytes: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_damaged(self) -> bool:
        """Whether rows are missing or wrong."""
        return any(one.level is Level.DAMAGE for one in self.findings)

    def content(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {"damaged": self.is_damaged, **asdict(self)}

    def add(self, level: Level, place: str, what: str, then: str) -> None:
        """Note a finding."""
        self.findings.append(Finding(level=level, place=place, what=what, then=then))


REWRITTEN: Final = "run the sweep again: it is rewritten"
_CONTINUE: Final = "`sweep gc` finishes it, and so does the next start of the sweep"


def check_run(store: RunStore) -> Checkup:
    """Read every file of a run and say what is wrong; nothing is changed, and a driver may be at work meanwhile.

    Raises:
        StoreError: there is no run, or it is out of reach.
    """
    with suppress(DamageError):  # It is found among all else.
        store.spec()
    checkup = Checkup(run=store.name)
    _check_json(store, checkup)
    entries = list(_entries(store, checkup))
    live = without_hidden(entries)
    checkup.commits = len(live)
    names = {entry.name for entry in live}
    for entry in entries:
        if entry.name not in names:
            checkup.add(Level.LEFTOVER, f"manifest/{entry.name}.json", "another commit takes its place", _CONTINUE)
    cells = {table: [_check_part(store, part, checkup) for part in _parts(live, table)] for table in PART_TABLES}
    _check_cells({table: np.concatenate(ids) for table, ids in cells.items() if ids}, checkup)
    _check_rest(store, live, checkup)
    _check_engines(store, checkup)
    return checkup


def _parts(entries: list[ManifestEntry], table: str) -> list[Part]:
    return [part for entry in entries for part in entry.parts if part.table == table]


def _check_json(store: RunStore, checkup: Checkup) -> None:
    for name, expected in ((SPEC_FILE, dict), (PROVENANCE_FILE, list)):
        try:
            content = json.loads(store.storage.read(name))
        except FileNotFoundError:
            checkup.add(Level.DAMAGE, name, "missing", RESTORE)
        except (ValueError, RecursionError) as error:
            checkup.add(Level.DAMAGE, name, f"no JSON ({error})", RESTORE)
        else:
            if not isinstance(content, expected):
                checkup.add(Level.DAMAGE, name, f"holds no {expected.__name__}", RESTORE)
    try:
        own_costs(store)
    except DamageError as error:
        checkup.add(Level.DAMAGE, COSTS_FILE, _said(error, store, COSTS_FILE), REWRITTEN)
    if store.storage.exists(LABELS_FILE):
        _check_readable(store, LABELS_FILE, checkup, then=REWRITTEN)
    elif has_lost_labels(store):
        checkup.add(Level.DAMAGE, LABELS_FILE, LABELS_LOST, REWRITTEN)


def _check_readable(store: RunStore, name: str, checkup: Checkup, *, then: str) -> None:
    """Check a table of which the manifest knows nothing."""
    try:
        with _opened(store.storage.read(name)) as file:
            file.read(["cell_id"], use_threads=False)
    except (pa.ArrowException, OSError) as error:
        checkup.add(Level.DAMAGE, name, f"not readable ({_line(error)})", then)


def _opened(content: bytes) -> pq.ParquetFile:
    return pq.ParquetFile(pa.BufferReader(content), pre_buffer=False)


def _entries(store: RunStore, checkup: Checkup) -> Iterator[ManifestEntry]:
    for listed in store.storage.files_in(store.manifest.folder):
        try:
            yield read_entry(store.storage, listed.name)
        except FileNotFoundError:
            continue  # A compaction has just taken its place.
        except (StoreError, SchemaError) as error:
            checkup.add(Level.DAMAGE, listed.name, str(error), "remove it if nothing of yours wrote it")


def _check_part(store: RunStore, part: Part, checkup: Checkup) -> Fixed:
    """Check one file, and return the cells that it has rows of."""
    none = fixed([])
    try:
        name = store.manifest.find(part)
        content = store.storage.read(name)
    except (StoreError, FileNotFoundError):
        checkup.add(Level.DAMAGE, part.path, MISSING, RESTORE)
        return none
    checkup.files += 1
    checkup.bytes += len(content)
    if name != part.path:
        checkup.add(Level.LEFTOVER, name, "committed, and not yet where a glob sees it", _CONTINUE)
    if problem := other_bytes(part, content):
        checkup.add(Level.DAMAGE, name, problem, RESTORE)
    try:
        ids, rows = _read_part(part.table, content)
    except (pa.ArrowException, OSError, SchemaError) as error:
        checkup.add(Level.DAMAGE, name, _line(error), RESTORE)
        return none
    checkup.rows[part.table] = checkup.rows.get(part.table, 0) + rows
    if rows != part.rows:
        checkup.add(Level.DAMAGE, name, f"{rows} rows; the manifest says {part.rows}", RESTORE)
    return ids


def _read_part(table: str, content: bytes) -> tuple[Fixed, int]:
    """Return cells and rows of a part.

    Raises:
        SchemaError: footer, columns or order are not what the table asks for.
    """
    with _opened(content) as file:
        check_footer("footer", file.metadata.metadata)
        version = int(file.metadata.metadata[b"schema_version"])
        _check_columns(table, file.schema_arrow, version)
        keys = file.read(list(SORT_KEYS[table]), use_threads=False)
    order = pc.sort_indices(keys, sort_keys=[(key, "ascending") for key in SORT_KEYS[table]])
    if not keys.take(order).equals(keys):
        raise SchemaError(f"rows are not in the order of {', '.join(SORT_KEYS[table])}")
    return fixed(keys["cell_id"].unique().to_pylist()), keys.num_rows


def _check_columns(table: str, found: pa.Schema, version: int) -> None:
    types = {stored: table_schema(table).field(name).type for name, stored in stored_names(table, version).items()}
    missing = [name for name in types if name not in found.names]
    wrong = [field.name for field in found if field.type != types.get(field.name)]
    if missing or wrong:
        raise SchemaError(f"columns missing: {missing}, unknown or of another type: {wrong}")


def _check_cells(ids: dict[str, Fixed], checkup: Checkup) -> None:
    """Check that each cell is in the table of cells once, and that all tables speak of the same cells."""
    for table, found in ids.items():
        unique, counts = np.unique(found, return_counts=True)
        twice = unique[counts > 1]
        if len(twice):
            then = "two batches hold them: run into a new folder, or `sweep merge` the parts that agree"
            checkup.add(Level.DAMAGE, table, f"{_listed(twice)} in two files", then)
    cells = ids.get("cells", fixed([]))
    for table, found in ids.items():
        strangers = np.setdiff1d(found, cells)
        if len(strangers):
            checkup.add(Level.DAMAGE, table, f"{_listed(strangers)} not in the table of cells", RESTORE)
    for table in REQUIRED_TABLES:
        lacking = np.setdiff1d(cells, ids.get(table, fixed([])))
        if len(lacking):
            checkup.add(Level.DAMAGE, table, f"{_listed(lacking)} without rows here", RESTORE)


def _check_rest(store: RunStore, live: list[ManifestEntry], checkup: Checkup) -> None:
    known = {path for entry in live for part in entry.parts for path in (part.path, store.manifest.staged(part))}
    unknown = [name for name in files_of_parts(store.storage) if name not in known]
    lost = set(lost_parts(store.manifest, unknown, lambda: list(_entries(store, Checkup(run=store.name)))))
    for name in unknown:
        if name in lost:
            checkup.add(Level.DAMAGE, name, LOST, GET_BACK)
        else:
            what = "no commit knows this file: a crash left it, or a driver is at work"
            checkup.add(Level.LEFTOVER, name, what, "`sweep gc` removes it")
    for listed in store.storage.files_in("failures"):
        _check_readable(store, listed.name, checkup, then="remove it: the cells are tried again")
    files = Counter(part.table for entry in live for part in entry.parts)
    if len(live) > 1:
        what = f"{len(live)} commits with {counted(files.total(), 'file')}"
        checkup.add(Level.ADVICE, "manifest", what, "`sweep compact` makes a few sorted files of them")


def _check_engines(store: RunStore, checkup: Checkup) -> None:
    try:
        engines = engines_of(store)
        apart = are_told_apart(store)
    except DamageError as error:
        if not any(finding.place == PROVENANCE_FILE for finding in checkup.findings):
            checkup.add(Level.DAMAGE, PROVENANCE_FILE, _said(error, store, PROVENANCE_FILE), RESTORE)
        return
    if len(engines) > 1 and not apart:
        checkup.add(Level.DAMAGE, PROVENANCE_FILE, mixed(engines), SEPARATE)
    elif len(engines) > 1:
        what = f"{mixed(engines)}; verbs show those of the last one alone, a glob finds all"
        checkup.add(Level.LEFTOVER, PROVENANCE_FILE, what, SEPARATE)


def _listed(ids: Fixed) -> str:
    cells = list(CellIds(one.decode() for one in ids[:_SHOWN]))
    return f"{counted(len(ids), 'cell')} ({', '.join(cells)}{', …' if len(ids) > _SHOWN else ''})"


def _said(error: DamageError, store: RunStore, name: str) -> str:
    """Return what an error says of a file, without the place, which a finding has anyway."""
    return _line(error).removeprefix(f"{store.storage.locate(name)}: ")


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
