"""One Parquet file: written whole or not at all, the same bytes from whoever writes it."""

import hashlib
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from results.columns import SORT_KEYS, TABLES
from results.schema import check_footer, check_table, table_schema

PART_TABLES: Final = tuple(table for table in TABLES if table != "failures")
"""Tables that a batch may have rows in: counted by the manifest, compacted, compared. "cells" is the first."""
REQUIRED_TABLES: Final = ("cells", "windows")
"""Tables that every batch has rows in."""
ROW_GROUP_ROWS: Final = 122_880
"""Rows of a row group: the size at which DuckDB's guide on file formats measures the fastest scans."""
ZSTD_LEVEL: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A file of a run, as the manifest knows it."""

    table: str
    name: str
    rows: int
    bytes: int
    sha256: str


def write_part_file(rows: pa.Table, table: str, path: Path, metadata: Mapping[str, str]) -> Part:
    """Sort `rows`, write them to `path` and read the footer again before the file gets its name.

    Raises:
        SchemaError: `rows` has not the columns of `table`.
        OSError: the disk is full, or what was written cannot be read.
    """
    check_table(table, rows)
    keys = [(key, "ascending") for key in SORT_KEYS[table]]
    schema = table_schema(table).with_metadata(dict(metadata))
    ordered = rows.replace_schema_metadata(None).sort_by(keys).cast(schema).combine_chunks()
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    pq.write_table(
        ordered,
        temporary,
        compression="zstd",
        compression_level=ZSTD_LEVEL,
        row_group_size=ROW_GROUP_ROWS,
        write_page_index=True,
    )
    sync_file(temporary)
    _check_written(temporary, rows.num_rows)
    part = Part(
        table=table,
        name=path.name,
        rows=rows.num_rows,
        bytes=temporary.stat().st_size,
        sha256=file_sha256(temporary),
    )
    temporary.replace(path)
    sync_directory(path.parent)
    return part


def _check_written(path: Path, rows: int) -> None:
    footer = pq.read_metadata(path)
    check_footer(str(path), footer.metadata)
    if footer.num_rows != rows:
        raise OSError(f"{path}: {footer.num_rows} rows on disk, {rows} were written. Is the disk full?")


def file_sha256(path: Path) -> str:
    """Return the hash of the file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_text(path: Path, text: str, scratch: Path) -> None:
    """Replace `path` by `text`, whole."""
    temporary = scratch / f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    temporary.write_text(text, encoding="utf-8")
    sync_file(temporary)
    temporary.replace(path)
    sync_directory(path.parent)


def write_text_if_absent(path: Path, text: str, scratch: Path) -> bool:
    """Create `path` with `text`; return False and change nothing if it exists."""
    temporary = scratch / f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    temporary.write_text(text, encoding="utf-8")
    sync_file(temporary)
    try:
        # A link fails where a rename would replace: of two drivers, one wins and the other one knows.
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    sync_directory(path.parent)
    return True


def sync_file(path: Path) -> None:
    """Ask the operating system to put the bytes of `path` on the disk."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def sync_directory(path: Path) -> None:
    """Ask the operating system to put the names in `path` on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
