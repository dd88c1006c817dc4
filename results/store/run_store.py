"""One run: workers stage parts, the driver commits them, readers see whole batches or nothing.

    spec.json         the resolved specification
    provenance.json   who ran what, when and where: one record per start, newest last
    manifest/*.json   the commits (results/store/manifest.py)
    latest.json       in an object store: the files that counted when the run was last taken up, compacted or left
    cells/*.parquet, windows/*.parquet, …   parts; in a folder only committed ones: always safe to read with a glob
    failures/*.parquet   cells that ended in an error; they are tried again
    .tmp/             what is being written, in a folder

docs/how-to/read-results.md says what a crash at each point leaves, docs/adr/0009-commits-in-object-stores.md what is
different in an object store.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from results.store.cell_ids import CellIds, Fixed, fixed
from results.store.columns import TABLES
from results.store.local import LocalStorage
from results.store.lost import PROVENANCE_FILE, REPLACE, SPEC_FILE, check_begun, check_commits, has_rows, orphans
from results.store.manifest import Manifest, ManifestEntry
from results.store.opening import open_storage
from results.store.parts import PART_TABLES, REQUIRED_TABLES, Part, encode_part, encode_rows, read_rows, version_of
from results.store.schema import footer_metadata, stored_names, table_schema
from results.store.storage import DamageError, NotStagedError, StoreError, read_json, scan_parquet

if TYPE_CHECKING:
    import polars as pl  # For readers: workers, which only write, start without it, 0.2 s sooner.

_FOLDERS: Final = ("manifest", *PART_TABLES, "failures")


class RunStore:
    """One run, to write and to read. `storage` has its files; give `name`, not a path, to users and other processes."""

    def __init__(self, location: str | Path) -> None:
        self.storage = open_storage(location)
        self.name = self.storage.name
        self.manifest = Manifest(self.storage)

    @property
    def path(self) -> Path:
        """Return the folder of a run that is in one.

        Raises:
            StoreError: the run is in an object store.
        """
        if not isinstance(self.storage, LocalStorage):
            raise StoreError(f"{self.name}: this needs a run in a folder. Copy the run to one first")
        return self.storage.root

    @property
    def location(self) -> str:
        """Return where other processes and machines find the run: an absolute path, or the URL."""
        return str(self.path.resolve()) if isinstance(self.storage, LocalStorage) else self.name

    def exists(self) -> bool:
        """Say whether there is a run."""
        return self.storage.exists(SPEC_FILE)

    def create(self, resolved_spec: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
        """Make the run or take it up again, and finish the commits that a crash has left half done.

        `provenance["code_fingerprint"]` goes into the footer of each part; time and host stay in provenance.json, so
        that parts of equal results are equal.

        Raises:
            StoreError: `provenance` has no code fingerprint.
            DamageError: the run has rows, and no specification or no record of a start.
        """
        if not isinstance(provenance.get("code_fingerprint"), str):
            raise StoreError(
                f"{self.name}: provenance has no text 'code_fingerprint'. Give the hash of the code's sources"
            )
        check_begun(self.storage)
        self.storage.make_folders(_FOLDERS)
        self.manifest.finish()
        self.write_provenance([*self.provenance(), dict(provenance)])
        self._write_json(SPEC_FILE, resolved_spec)

    def spec(self) -> dict[str, Any]:
        """Return the resolved specification.

        Raises:
            StoreError: there is no run.
            DamageError: the run has lost it.
        """
        try:
            spec: dict[str, Any] = read_json(self.storage, SPEC_FILE, dict)
        except FileNotFoundError:
            check_begun(self.storage)
            raise StoreError(f"{self.name}: no run here ({SPEC_FILE} is missing). See: sweep run --help") from None
        return spec

    def provenance(self) -> list[dict[str, Any]]:
        """Return one record per start of the run, newest last; none before the first start.

        Raises:
            DamageError: the run has lost them.
        """
        try:
            records: list[dict[str, Any]] = read_json(self.storage, PROVENANCE_FILE, list)
        except FileNotFoundError:
            check_begun(self.storage)
            return []
        if not records and has_rows(self.storage):
            raise DamageError(
                f"{self.storage.locate(PROVENANCE_FILE)}: no record of a start, and the run has rows. {REPLACE}"
            )
        if not all(isinstance(record, dict) for record in records):
            raise DamageError(f"{self.storage.locate(PROVENANCE_FILE)}: a record is no mapping. Restore the file")
        return records

    def write_provenance(self, records: list[dict[str, Any]]) -> None:
        """Replace the records of the run's starts."""
        self._write_json(PROVENANCE_FILE, records)

    def _write_json(self, name: str, content: object) -> None:
        self.storage.put(name, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())

    def write_part(self, batch_id: str, tables: Mapping[str, pa.Table]) -> ManifestEntry:
        """Stage the rows of a batch; safe in any process, and twice. Nothing counts before `commit`.

        `tables` has "cells" and "windows", and may have any other of `PART_TABLES`; all speak of the same cells.

        Raises:
            SchemaError: a table has other columns than results/store/columns.py says.
            StoreError: a table is missing or unknown, or the tables speak of different cells.
            OSError: the disk is full.
        """
        _check_batch(batch_id, tables)
        stem, footer = ManifestEntry(name=batch_id, parts=()).name, self.footer()
        encoded = [encode_part(tables[table], table, stem, footer) for table in PART_TABLES if table in tables]
        for part, content in encoded:
            self.stage(part, content)
        return ManifestEntry(name=batch_id, parts=tuple(part for part, _ in encoded))

    def stage(self, part: Part, content: pa.Buffer) -> None:
        """Write a part to where it waits for its commit."""
        self.storage.put(self.manifest.staged(part), content)

    def footer(self) -> dict[str, str]:
        """Return the metadata that each part of this run carries."""
        return footer_metadata(self.spec(), self.provenance()[-1]["code_fingerprint"])

    def commit(self, entry: ManifestEntry) -> None:
        """Make a staged batch count; a second time changes nothing.

        Raises:
            StoreError: the batch is committed with other contents, or its files were never staged.
        """
        for part in entry.parts:
            if not any(self.storage.exists(name) for name in dict.fromkeys((self.manifest.staged(part), part.path))):
                raise NotStagedError(
                    f"{self.name}: batch '{entry.name}' has no {part.table}. Call write_part before commit"
                )
        self.manifest.add(entry)
        self.manifest.put_in_place(entry)

    def record_failures(self, batch_id: str, failures: pa.Table) -> None:
        """Keep why the cells of a batch failed, in place of what was kept for that batch before."""
        name = ManifestEntry(name=batch_id, parts=()).name
        self.storage.put(f"failures/{name}.parquet", encode_rows(failures, "failures", self.footer()))

    def finished_cells(self) -> CellIds:
        """Return the ids of the cells that need no simulation any more."""

        def ids_of(name: str) -> Fixed:
            return fixed(read_rows(self.storage, name, ["cell_id"])["cell_id"].to_pylist())

        return CellIds.joined(self.storage.each(ids_of, self.manifest.files("cells")))

    def scan(self, table: str, parts: Sequence[Part] | None = None) -> "pl.LazyFrame":
        """Return the committed rows of any table of `PART_TABLES`, or of some parts; one that no batch has is empty."""
        self.spec()
        if parts is not None:
            return self._scan_files(table, self._versions([self.manifest.find(part) for part in parts]))
        live = [(entry, part) for entry in self.manifest.live() for part in entry.parts if part.table == table]
        return self._scan_files(table, {self.manifest.find(part): entry.schema_version for entry, part in live})

    def failures(self) -> "pl.LazyFrame":
        """Return the cells that have failed and have not succeeded since."""
        files = [listed.name for listed in self.storage.files_in("failures")]
        rows = self._scan_files("failures", self._versions(files))
        if not files:
            return rows  # Without a look at the ids of all cells.
        return rows.join(self.scan("cells").select("cell_id"), on="cell_id", how="anti")

    def _versions(self, names: list[str]) -> dict[str, int]:
        """Return name -> schema version of some files, by their footers."""
        found = self.storage.each(lambda name: version_of(self.storage, name), names)
        return dict(zip(names, found, strict=True))

    def _scan_files(self, table: str, versions: Mapping[str, int]) -> "pl.LazyFrame":
        """Return the rows of files in their order, with the present columns; `versions` says of each who wrote it."""
        import polars as pl

        # Not by way of an empty Arrow table: pyarrow would load pandas, for half a second, to look at its names.
        schema = pl.Schema(table_schema(table))
        scans = []
        for version, names in itertools.groupby(versions, key=lambda name: versions[name]):
            stored = stored_names(table, version)
            rows = scan_parquet(self.storage, [*names], pl.Schema({old: schema[new] for new, old in stored.items()}))
            if list(stored.items()) != [(name, name) for name in schema]:
                rows = rows.select(
                    pl.col(stored[column.name]).alias(column.name)
                    if column.name in stored
                    else pl.lit(column.before, schema[column.name]).alias(column.name)
                    for column in TABLES[table]
                )
            scans.append(rows)
        return pl.concat(scans) if scans else pl.LazyFrame(schema=schema)

    def orphans(self) -> list[str]:
        """Return the files that no commit knows: left by a crash, or put there by hand. Readers ignore them."""
        return orphans(self.manifest)

    def remove_orphans(self) -> list[str]:
        """Remove and return the orphans. Only for a driver, while none of its workers is writing.

        Raises:
            DamageError: one of them holds rows whose commit was lost; then none is removed.
        """
        self.storage.check_lock()
        found = self.orphans()
        check_commits(self.manifest, found)
        self.storage.each(self.storage.delete, found)
        return found


def _check_batch(batch_id: str, tables: Mapping[str, pa.Table]) -> None:
    missing = [table for table in REQUIRED_TABLES if table not in tables]
    unknown = [table for table in tables if table not in PART_TABLES]
    if missing or unknown:
        raise StoreError(
            f"batch '{batch_id}': tables missing: {missing}, unknown: {unknown}. Give {', '.join(REQUIRED_TABLES)}; "
            f"allowed: {', '.join(PART_TABLES)}"
        )
    ids = tables["cells"]["cell_id"].to_pylist()
    if len(set(ids)) != len(ids) or not ids:
        raise StoreError(
            f"batch '{batch_id}': {len(ids)} rows for {len(set(ids))} cells. One row per cell, at least one"
        )
    for table, rows in tables.items():
        strangers = set(rows["cell_id"].unique().to_pylist()) ^ set(ids)
        if strangers:
            raise StoreError(
                f"batch '{batch_id}': cells without {table}, or {table} without cells: {sorted(strangers)[:5]}"
            )
