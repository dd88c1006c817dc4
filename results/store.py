"""One run on disk: workers stage parts, the driver commits them, readers see whole batches or nothing.

    spec.json         the resolved specification
    provenance.json   who ran what, when and where: one record per start, newest last
    manifest/*.json   the commits (results/manifest.py)
    cells/*.parquet, windows/*.parquet   committed parts only: always safe to read with a plain glob
    failures/*.parquet   cells that ended in an error; they are tried again
    .tmp/             what is being written

docs/how-to/read-results.md says what a crash at each point leaves.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from results.manifest import Manifest, ManifestEntry, StoreError
from results.parts import PART_TABLES, REQUIRED_TABLES, Part, write_part_file, write_text
from results.schema import check_footer, footer_metadata, table_schema

_FOLDERS: Final = ("manifest", *PART_TABLES, "failures", ".tmp")


class RunStore:
    """The folder of one run, to write and to read."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.manifest = Manifest(self.path)

    def create(self, resolved_spec: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
        """Make the folder or take it up again, and finish the commits that a crash has left half done.

        `provenance["code_fingerprint"]` goes into the footer of each part; time and host stay in provenance.json, so
        that parts of equal results are equal.

        Raises:
            StoreError: `provenance` has no code fingerprint.
        """
        if not isinstance(provenance.get("code_fingerprint"), str):
            raise StoreError(
                f"{self.path}: provenance has no text 'code_fingerprint'. Give the hash of the code's sources"
            )
        for folder in _FOLDERS:
            (self.path / folder).mkdir(parents=True, exist_ok=True)
        self.manifest.finish()
        records = [*self.provenance(), dict(provenance)]
        for name, content in (("provenance.json", records), ("spec.json", resolved_spec)):
            write_text(self.path / name, json.dumps(content, indent=1, sort_keys=True) + "\n", self.path / ".tmp")

    def spec(self) -> dict[str, Any]:
        """Return the resolved specification.

        Raises:
            StoreError: the folder holds no run.
        """
        path = self.path / "spec.json"
        if not path.exists():
            raise StoreError(f"{self.path}: no run here (spec.json is missing). See: ls {self.path.parent}")
        spec: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return spec

    def provenance(self) -> list[dict[str, Any]]:
        """Return one record per start of the run, newest last."""
        path = self.path / "provenance.json"
        records: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        return records

    def write_part(self, batch_id: str, tables: Mapping[str, pa.Table]) -> ManifestEntry:
        """Stage the rows of a batch; safe in any process, and twice. Nothing counts before `commit`.

        `tables` has "cells" and "windows", and may have any other of `PART_TABLES`; all speak of the same cells.

        Raises:
            SchemaError: a table has other columns than results/columns.py says.
            StoreError: a table is missing or unknown, or the tables speak of different cells.
        """
        _check_batch(batch_id, tables)
        name = f"{ManifestEntry(name=batch_id, parts=()).name}.parquet"
        parts = tuple(self._stage(table, name, tables[table]) for table in PART_TABLES if table in tables)
        return ManifestEntry(name=batch_id, parts=parts)

    def _stage(self, table: str, name: str, rows: pa.Table) -> Part:
        part = write_part_file(rows, table, self.path / ".tmp" / f"{table}.{name}", self.footer())
        return replace(part, name=name)

    def footer(self) -> dict[str, str]:
        """Return the metadata that each part of this run carries."""
        return footer_metadata(self.spec(), self.provenance()[-1]["code_fingerprint"])

    def commit(self, entry: ManifestEntry) -> None:
        """Make a staged batch count; a second time changes nothing.

        Raises:
            StoreError: the batch is committed with other contents, or its files were never staged.
        """
        for part in entry.parts:
            if (
                not (self.path / ".tmp" / f"{part.table}.{part.name}").exists()
                and not self.manifest.place(part).exists()
            ):
                raise StoreError(
                    f"{self.path}: batch '{entry.name}' has no {part.table}. Call write_part before commit"
                )
        self.manifest.add(entry)
        self.manifest.put_in_place(entry)

    def record_failures(self, batch_id: str, failures: pa.Table) -> None:
        """Keep why the cells of a batch failed, in place of what was kept for that batch before."""
        name = ManifestEntry(name=batch_id, parts=()).name
        path = self.path / "failures" / f"{name}.parquet"
        staged = self.path / ".tmp" / f"failures.{name}.parquet"
        write_part_file(failures, "failures", staged, self.footer())
        staged.replace(path)

    def finished_cells(self) -> set[str]:
        """Return the ids of the cells that need no simulation any more."""
        paths = self.manifest.paths("cells")
        return {
            cell for path in paths for cell in pq.ParquetFile(path).read(columns=["cell_id"])["cell_id"].to_pylist()
        }

    def scan_cells(self) -> pl.LazyFrame:
        """Return the committed rows of the table of cells."""
        return self.scan("cells")

    def scan_windows(self) -> pl.LazyFrame:
        """Return the committed rows of the table of windows."""
        return self.scan("windows")

    def failures(self) -> pl.LazyFrame:
        """Return the cells that have failed and have not succeeded since."""
        rows = _scan_files("failures", sorted((self.path / "failures").glob("*.parquet")))
        return rows.join(self.scan_cells().select("cell_id"), on="cell_id", how="anti")

    def scan(self, table: str) -> pl.LazyFrame:
        """Return the committed rows of any table of `PART_TABLES`; one that no batch has is empty."""
        self.spec()
        return _scan_files(table, self.manifest.paths(table))

    def orphans(self) -> list[Path]:
        """Return the files that no commit knows: left by a crash, or put there by hand. Readers ignore them."""
        known = {self.manifest.find(part) for entry in self.manifest.live() for part in entry.parts}
        found = [path for folder in (".tmp", *PART_TABLES) for path in (self.path / folder).glob("*")]
        return sorted(path for path in found if path not in known)

    def remove_orphans(self) -> list[Path]:
        """Remove and return the orphans. Only for a driver, while none of its workers is writing."""
        orphans = self.orphans()
        for path in orphans:
            path.unlink(missing_ok=True)
        return orphans


def _scan_files(table: str, paths: list[Path]) -> pl.LazyFrame:
    for path in paths:
        check_footer(str(path), pq.read_metadata(path).metadata)
    if paths:
        return pl.scan_parquet(paths, glob=False)
    empty = pl.from_arrow(table_schema(table).empty_table())
    assert isinstance(empty, pl.DataFrame)
    return empty.lazy()


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
