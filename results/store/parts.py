"""One Parquet file of a run: its bytes, the same from whoever makes them, and how the manifest knows it."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from results.store.columns import COUNTER, SORT_KEYS, TABLES
from results.store.schema import SCHEMA_VERSION, check_footer, check_table, footer_version, present_names, table_schema
from results.store.storage import DamageError, Storage

PART_TABLES: Final = tuple(table for table in TABLES if table != "failures")
"""Tables that a batch may have rows in: counted by the manifest, compacted, compared. "cells" is the first."""
REQUIRED_TABLES: Final = ("cells", "windows")
"""Tables that every batch has rows in."""
ROW_GROUP_ROWS: Final = 122_880
"""Rows of a row group: the size at which DuckDB's guide on file formats measures the fastest scans."""
ZSTD_LEVEL: Final = 3
_PATH: Final = re.compile(rf"(?:{'|'.join(PART_TABLES)})/[A-Za-z0-9][A-Za-z0-9._-]{{0,200}}\.parquet")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
DIGESTS_LISTED: Final = 1_000
"""Digests of traces that a footer lists: some 40 kB; of more it holds the number and a hash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A file of a run, as the manifest knows it."""

    table: str
    name: str
    rows: int
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        # It may come from a manifest that a stranger wrote, and files of its path are moved and removed.
        if not (_PATH.fullmatch(self.path) and _SHA256.fullmatch(str(self.sha256)) and min(self.rows, self.bytes) >= 0):
            raise ValueError(f"{self.path!r} with {self.rows} rows is no part of a run")

    @property
    def path(self) -> str:
        """Where the part is in its run, once it is committed and in place."""
        return f"{self.table}/{self.name}"


def encode_part(rows: pa.Table, table: str, stem: str, metadata: Mapping[str, str]) -> tuple[Part, pa.Buffer]:
    """Return the file with `rows`, sorted, and what the manifest is to say about it; nothing is written.

    The file's name is `stem` and a hash of its bytes: another answer under the same stem can't take its place.

    Raises:
        SchemaError: `rows` has not the columns of `table`.
    """
    content = encode_rows(rows, table, metadata)
    sha256 = hashlib.sha256(content).hexdigest()
    name = f"{stem}-{sha256[:16]}.parquet"
    return Part(table=table, name=name, rows=rows.num_rows, bytes=content.size, sha256=sha256), content


def encode_rows(rows: pa.Table, table: str, metadata: Mapping[str, str]) -> pa.Buffer:
    """Return the bytes of a Parquet file with `rows`, sorted; its footer has `metadata` and the traces' digests.

    Raises:
        SchemaError: `rows` has not the columns of `table`.
    """
    check_table(table, rows)
    keys = [(key, "ascending") for key in SORT_KEYS[table]]
    schema = table_schema(table).with_metadata({**metadata, **_digests(rows)})
    ordered = rows.replace_schema_metadata(None).sort_by(keys).cast(schema).combine_chunks()
    stream = pa.BufferOutputStream()
    counters = {column.name for column in COUNTER}
    pq.write_table(
        ordered,
        stream,
        compression="zstd",
        compression_level=ZSTD_LEVEL,
        row_group_size=ROW_GROUP_ROWS,
        write_page_index=True,
        sorting_columns=pq.SortingColumn.from_ordering(schema, keys),
        use_dictionary=[name for name in schema.names if name not in counters],
        # Keys repeat; counters don't. As differences ten million cells are read and written in half the time that plain
        # numbers take; files of kernbench are a third larger than with those, and smaller than with a dictionary.
        column_encoding={name: "DELTA_BINARY_PACKED" for name in schema.names if name in counters},
    )
    content = stream.getvalue()
    _check_encoded(content, table, rows.num_rows)
    return content


def _digests(rows: pa.Table) -> dict[str, str]:
    if "trace_digest" not in rows.schema.names:
        return {}
    digests = sorted(rows["trace_digest"].unique().to_pylist())
    listed = digests if len(digests) <= DIGESTS_LISTED else None
    sha256 = hashlib.sha256("\n".join(digests).encode()).hexdigest()
    facts = {"count": len(digests), "sha256": sha256, "digests": listed}
    return {"trace_digests": json.dumps(facts, sort_keys=True, separators=(",", ":"))}


def _check_encoded(content: pa.Buffer, table: str, rows: int) -> None:
    footer = pq.read_metadata(pa.BufferReader(content))
    check_footer(table, footer.metadata)
    if footer.num_rows != rows:
        raise AssertionError(f"table {table}: {footer.num_rows} rows encoded out of {rows}")


def read_rows(storage: Storage, name: str, columns: list[str] | None = None) -> pa.Table:
    """Return the rows of a part, all columns or some.

    Columns go by their present names, whatever version wrote the part.

    Raises:
        DamageError: it is no Parquet file, is damaged, or has not those columns.
    """
    try:
        with storage.open(name) as source:
            footer = pq.read_metadata(source)
            names = present_names(footer_version(footer.metadata))
            stored = {names.get(one, one): one for one in footer.schema.to_arrow_schema().names}
            missing = set(columns or ()) - set(stored)
            if missing:
                raise DamageError(f"{storage.locate(name)}: no column {', '.join(sorted(missing))}")
            with pq.ParquetFile(source, metadata=footer) as file:
                rows = file.read(columns=None if columns is None else [stored[one] for one in columns])
            return rows.rename_columns([names.get(one, one) for one in rows.schema.names])
    except (OSError, pa.ArrowException) as error:
        if getattr(error, "errno", None) is not None:
            raise
        raise DamageError(f"{storage.locate(name)}: can't be read ({str(error).strip()})") from error


def version_of(storage: Storage, name: str) -> int:
    """Return the schema version of a part; the present one if it can't be read, which its reader will say."""
    try:
        with storage.open(name) as source:
            return footer_version(pq.read_metadata(source).metadata)
    except (OSError, pa.ArrowException):
        return SCHEMA_VERSION
