"""One table of a run as one file: Parquet, CSV or Arrow, written row group by row group, so that memory holds few."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from results.store.files import appearing
from results.store.labels import LabelledRun
from results.store.parts import PART_TABLES, ROW_GROUP_ROWS, ZSTD_LEVEL
from results.store.run_store import RunStore
from results.store.schema import table_schema
from results.store.soundness import check_sound
from results.store.storage import StoreError


def _parquet(path: Path, schema: pa.Schema) -> Any:
    return pq.ParquetWriter(path, schema, compression="zstd", compression_level=ZSTD_LEVEL, write_page_index=True)


def _arrow(path: Path, schema: pa.Schema) -> Any:
    return pa.ipc.new_file(path, schema, options=pa.ipc.IpcWriteOptions(compression="zstd"))


def _csv(path: Path, schema: pa.Schema) -> Any:
    return pyarrow.csv.CSVWriter(path, schema)


FORMS: Final[dict[str, Callable[[Path, pa.Schema], Any]]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".arrow": _arrow,
    ".feather": _arrow,
}
"""End of the file's name -> what opens such a file to write, as a context."""


def export(store: RunStore, out: Path, *, table: str = "cells") -> int:
    """Write one table of a run, under the labels of its specification, to one file; return the number of rows.

    The file is whole or absent, and has unit, description and source of each column where the format can hold them.

    Raises:
        StoreError: the end of the name or the table is unknown, or a file of the run is damaged.
        OSError: the file can't be written.
    """
    if out.suffix not in FORMS:
        raise StoreError(f"{out}: unknown format '{out.suffix}'. Give a name that ends in {', '.join(FORMS)}")
    if table not in PART_TABLES:
        raise StoreError(f"table '{table}' is unknown. Allowed: {', '.join(PART_TABLES)}")
    check_sound(store, tables=(table,), hashed_bytes=math.inf)
    schema = table_schema(table).with_metadata(store.footer())
    rows = 0
    with appearing(out) as temporary, FORMS[out.suffix](temporary, schema) as writer:
        for group in _row_groups(store, table):
            writer.write_table(group.combine_chunks().cast(schema), ROW_GROUP_ROWS)
            rows += group.num_rows
    return rows


def _row_groups(store: RunStore, table: str) -> Iterator[pa.Table]:
    """Yield the rows of a table in its order, `ROW_GROUP_ROWS` at a time, however they are spread over files."""
    held: list[pa.Table] = []
    for piece in _pieces(store, table):
        held.append(piece)
        if sum(one.num_rows for one in held) >= ROW_GROUP_ROWS:
            rows = pa.concat_tables(held)
            yield rows.slice(0, ROW_GROUP_ROWS)
            held = [rows.slice(ROW_GROUP_ROWS)]
    if sum(one.num_rows for one in held):
        yield pa.concat_tables(held)


def _pieces(store: RunStore, table: str) -> Iterator[pa.Table]:
    """Yield the rows of a table in pieces of at most `ROW_GROUP_ROWS`; polars would read files ahead without end."""
    run = LabelledRun(store)
    for part in store.manifest.parts(table):
        rows = run.scan(table, [part])
        for piece in rows.collect_batches(
            chunk_size=ROW_GROUP_ROWS, maintain_order=True, lazy=True, engine="streaming"
        ):
            yield piece.to_arrow()
