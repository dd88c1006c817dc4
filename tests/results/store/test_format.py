"""What every file of a run promises to programs that know Parquet and nothing of ours: read with plain pyarrow."""

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from results.store.columns import COUNTER, SORT_KEYS, TABLES, Column
from results.store.parts import DIGESTS_LISTED, ROW_GROUP_ROWS, encode_part
from results.store.rows import cells_table, failures_table
from results.store.run_store import RunStore
from results.store.schema import SCHEMA_VERSION
from results.upkeep.compaction import compact
from tests.support.project import DATA
from tests.support.synthetic import SPEC, cell, failed, make_run, replicate_batches, totals_of, trace, windows_of

RUN: Final = DATA / "runs" / f"v{SCHEMA_VERSION}"
FOOTER: Final = {"schema_version": "2", "code_fingerprint": "f1", "resolved_spec": "{}"}


@pytest.fixture(scope="module")
def large() -> pq.FileMetaData:
    """Return the metadata of a file with more rows than a row group."""
    cells = [cell("kvm-3.0"), cell("tdp", 1)]
    few = cells_table(cells, totals_of(windows_of(cells)), trace())
    rows = few.take(np.arange(ROW_GROUP_ROWS + 1) % len(cells))
    _, content = encode_part(rows, "cells", "x", FOOTER)
    return pq.read_metadata(pa.BufferReader(content))


def files_of(run: Path) -> list[Path]:
    """Return the Parquet files of the tables of a run."""
    return sorted(path for table in TABLES for path in (run / table).glob("*.parquet"))


def test_row_groups_are_as_large_as_scans_want(large: pq.FileMetaData) -> None:
    """A group has the rows at which DuckDB's guide measures the fastest scans, and only the last one has fewer."""
    assert ROW_GROUP_ROWS == 122_880
    assert [large.row_group(i).num_rows for i in range(large.num_row_groups)] == [ROW_GROUP_ROWS, 1]


def test_files_are_sorted_by_what_their_footer_says(large: pq.FileMetaData) -> None:
    """Each row group names the keys that order its rows, so that a reader may rely on them."""
    names = large.schema.to_arrow_schema().names

    for group in (large.row_group(i) for i in range(large.num_row_groups)):
        assert [names[one.column_index] for one in group.sorting_columns] == list(SORT_KEYS["cells"])


def test_columns_are_small_and_can_be_skipped(large: pq.FileMetaData) -> None:
    """Every column is zstd with a page index; the columns that repeat, and only those, have a dictionary."""
    group = large.row_group(0)
    chunks = [group.column(i) for i in range(group.num_columns)]

    assert {chunk.compression for chunk in chunks} == {"ZSTD"}
    assert all(chunk.has_offset_index and chunk.has_column_index for chunk in chunks)
    assert all(chunk.statistics.has_min_max for chunk in chunks)
    plain = {chunk.path_in_schema for chunk in chunks if not chunk.has_dictionary_page}
    assert plain == {column.name for column in COUNTER}


def described(column: Column) -> dict[bytes, bytes]:
    """Return what a file says about a column."""
    texts = {"unit": column.unit, "description": column.description, "source": column.source}
    return {key.encode(): text.encode() for key, text in texts.items()}


def test_every_column_of_every_table_is_explained(tmp_path: Path) -> None:
    """Fields of all four tables hold unit, description and source, none of them empty."""
    store = make_run(tmp_path, [])
    store.record_failures("x", failures_table([cell("tdp")], failed("once")))

    schemas = {path.parent.name: pq.read_schema(path) for path in [*files_of(RUN), *files_of(tmp_path)]}

    assert schemas.keys() == TABLES.keys()
    for table, schema in schemas.items():
        assert schema.names == [column.name for column in TABLES[table]]
        for column in TABLES[table]:
            found = schema.field(column.name).metadata
            assert {key: found.get(key) for key in described(column)} == described(column)
            assert all(found[key] for key in described(column))


@pytest.mark.parametrize("compacted", [False, True])
def test_a_lone_file_says_where_it_comes_from(tmp_path: Path, compacted: bool) -> None:  # noqa: FBT001
    """Every part has the specification, the fingerprint, the version and the digests of the traces of its rows."""
    store = make_run(tmp_path, replicate_batches(2))
    if compacted:
        compact(store)

    found = [footer_of(path) for path in files_of(tmp_path)]

    assert len(found) == (2 if compacted else 4)
    for footer in found:
        assert json.loads(footer["resolved_spec"]) == SPEC == json.loads((tmp_path / "spec.json").read_text())
        assert (footer["code_fingerprint"], footer["schema_version"]) == ("f1", str(SCHEMA_VERSION))
    listed = [json.loads(footer["trace_digests"])["digests"] for footer in found]
    assert sorted(listed) == ([["trace-0", "trace-1"]] * 2 if compacted else [["trace-0"]] * 2 + [["trace-1"]] * 2)


def test_failures_say_where_they_come_from(tmp_path: Path) -> None:
    """A table without traces has the rest of the footer."""
    store = make_run(tmp_path, [])
    store.record_failures("x", failures_table([cell("tdp")], failed("once")))

    (path,) = files_of(tmp_path)

    assert json.loads(footer_of(path)["resolved_spec"]) == SPEC
    assert "trace_digests" not in footer_of(path)


def test_a_real_run_keeps_the_promises() -> None:
    """So it is in the files of a real run, which its own program has written."""
    for path in files_of(RUN):
        footer, rows = footer_of(path), pq.read_table(path)
        assert json.loads(footer["resolved_spec"]) == RunStore(RUN).spec()
        assert footer["code_fingerprint"] == RunStore(RUN).provenance()[-1]["code_fingerprint"]
        if "trace_digest" in rows.column_names:
            digests = sorted(set(rows["trace_digest"].to_pylist()))
            assert json.loads(footer["trace_digests"])["digests"] == digests


def test_of_many_digests_the_footer_has_a_hash() -> None:
    """Beyond a thousand traces a footer has their number and a hash instead of a list that outgrows the rows."""
    cells = [cell("tdp")]
    few = cells_table(cells, totals_of(windows_of(cells)), trace())
    digests = [f"trace-{i:05d}" for i in range(DIGESTS_LISTED + 1)]
    rows = few.take([0] * len(digests))
    rows = rows.set_column(rows.column_names.index("trace_digest"), few.schema.field("trace_digest"), [digests])

    _, content = encode_part(rows, "cells", "x", FOOTER)

    found = json.loads(pq.read_metadata(pa.BufferReader(content)).metadata[b"trace_digests"])
    sha256 = hashlib.sha256("\n".join(digests).encode()).hexdigest()
    assert found == {"count": len(digests), "sha256": sha256, "digests": None}


def footer_of(path: Path) -> dict[str, Any]:
    """Return what the footer of a file says."""
    return {key.decode(): text.decode() for key, text in pq.read_metadata(path).metadata.items()}
