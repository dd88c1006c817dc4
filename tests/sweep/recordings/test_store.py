"""Stored layer-1 traces: what is written is what is read, and nothing else passes for a trace."""

import json
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.operations import OPERATION, OPERATION_FORMAT_VERSION, Operations
from sweep.exit_codes import TraceError
from sweep.recordings import store
from sweep.recordings.importing import import_perf, read_recording
from sweep.recordings.store import (
    SCHEMA,
    TABLE_KEYS,
    OperationFile,
    operation_writer,
    read_operations,
    write_operations,
)

NAMES = st.lists(st.text(st.characters(codec="utf-8"), max_size=8), min_size=1, max_size=6, unique=True)


def some_operations(rows: int, names: int, seed: int = 1) -> Operations:
    """Make operations with any value in each field, in time order."""
    rng = np.random.default_rng(seed)
    operations = np.frombuffer(rng.bytes(rows * OPERATION.itemsize), OPERATION).copy()
    operations["time_ns"].sort()
    operations["comm"] %= names
    return operations


def write_chunks(path: Path, *chunks: Operations) -> None:
    """Write a trace of one command, chunk by chunk."""
    with operation_writer(path) as writer:
        for chunk in chunks:
            writer.write(chunk, ("make",))


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file that generated examples overwrite."""
    return tmp_path_factory.mktemp("store") / "trace.parquet"


@given(names=NAMES, rows=st.integers(0, 50), seed=st.integers(0, 2**32))
def test_round_trip(stored: Path, names: list[str], rows: int, seed: int) -> None:
    """Any operations and any command names come back as they were."""
    operations = some_operations(rows, len(names), seed)

    write_operations(stored, operations, comms=tuple(names))

    found, comms = read_operations(stored)
    assert np.array_equal(found, operations)
    assert comms == (tuple(names) if rows else ())


def test_row_groups_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace of many row groups, with a table of names that grows, reads as one."""
    monkeypatch.setattr(store, "GROUP_ROWS", 100)
    operations = some_operations(1000, 10)
    operations["comm"] = np.arange(1000) // 100

    with operation_writer(tmp_path / "t.parquet") as writer:
        for i in range(0, 1000, 50):
            writer.write(operations[i : i + 50], tuple(f"c{k}" for k in range(i // 100 + 1)))

    found, comms = read_operations(tmp_path / "t.parquet")
    assert pq.ParquetFile(tmp_path / "t.parquet").num_row_groups == 10
    assert np.array_equal(found, operations)
    assert comms == tuple(f"c{k}" for k in range(10))


def test_import_is_reproducible(recording: Path, tmp_path: Path) -> None:
    """Importing twice gives the same bytes, and the file says where it came from."""
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]

    reports = [import_perf(recording, path, strict=True) for path in paths]

    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert OperationFile(paths[0]).source == json.loads(json.dumps(reports[0].facts()))
    direct, comms = read_recording(recording)
    assert np.array_equal(read_operations(paths[0])[0], direct)
    assert read_recording(paths[0])[1] == comms


def test_another_reader_understands_the_file(recording: Path, tmp_path: Path) -> None:
    """DuckDB reads the columns with the command names as text, and Arrow finds a unit for each."""
    path = tmp_path / "t.parquet"
    import_perf(recording, path, strict=True)

    rows = duckdb.sql(f"select comm, count(*) from '{path}' where kind = 2 and flags & 4 = 4 group by 1").fetchall()

    operations, comms = read_operations(path)
    user = operations[(operations["kind"] == 2) & (operations["flags"] & 4 != 0)]
    expected = {comms[comm]: count for comm, count in enumerate(np.bincount(user["comm"]).tolist()) if count}
    assert dict(rows) == expected
    assert all(field.metadata[b"unit"] for field in pq.read_schema(path))
    assert tuple(SCHEMA.names) == OPERATION.names


def test_failed_write_leaves_nothing(tmp_path: Path) -> None:
    """An error while writing leaves the old file and no other."""
    path = tmp_path / "t.parquet"
    path.write_bytes(b"old")

    with pytest.raises(TraceError, match="order of time_ns"):
        write_chunks(path, some_operations(10, 1), some_operations(10, 1))

    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("t.parquet", b"old")]


def test_wrong_order_is_refused(tmp_path: Path) -> None:
    """Operations that go back in time, within a chunk or between two, are no trace."""
    operations = some_operations(10, 1)

    for chunks in ([operations[::-1]], [operations, operations]):
        with pytest.raises(TraceError, match="order of time_ns"):
            write_chunks(tmp_path / "t.parquet", *chunks)

    assert list(tmp_path.iterdir()) == []


def test_unknown_command_is_refused(tmp_path: Path) -> None:
    """An operation can't name a command that is not in the table."""
    with pytest.raises(TraceError, match="table of 1 command names"):
        write_operations(tmp_path / "t.parquet", some_operations(10, 5), comms=("make",))


def test_place_that_can_not_be_written(tmp_path: Path) -> None:
    """A missing folder is named, with what to do."""
    with pytest.raises(TraceError, match=r"none/t\.parquet: can't be written: .*; choose another place with -o"):
        write_operations(tmp_path / "none" / "t.parquet", some_operations(1, 1), comms=("make",))


def test_other_files_are_no_traces(tmp_path: Path) -> None:
    """Text, foreign Parquet and another version of the format are refused by name and reason."""
    text, foreign, future = (tmp_path / name for name in ("a.parquet", "b.parquet", "c.parquet"))
    text.write_text("PAR1 but not really", encoding="utf-8")
    pq.write_table(pa.table({"a": [1]}), foreign)
    write_operations(future, some_operations(1, 1), comms=("make",))
    table = pq.read_table(future)
    without = table.drop_columns(["peer"])
    ours = dict(zip(TABLE_KEYS, ("shadowsweep-operations", str(OPERATION_FORMAT_VERSION), "[]", "{}"), strict=True))
    pq.write_table(without.replace_schema_metadata(ours), tmp_path / "d.parquet")
    version = str(OPERATION_FORMAT_VERSION + 1)
    metadata = dict(zip(TABLE_KEYS, ("shadowsweep-operations", version, "[]", "{}"), strict=True))
    pq.write_table(table.replace_schema_metadata(metadata), future)

    for path, reason in (
        (text, "is no readable Parquet file"),
        (foreign, "its format is '', expected 'shadowsweep-operations'"),
        (tmp_path / "d.parquet", "its columns are not those of version 1"),
        (future, f"has version '{version}' of the trace format"),
    ):
        with pytest.raises(TraceError, match=rf"{path.name}: .*{reason}"):
            read_operations(path)


def test_damaged_row_group_is_refused(tmp_path: Path) -> None:
    """Bytes of the rows that changed on the disk are an error that names the file and the row group."""
    path = tmp_path / "t.parquet"
    write_operations(path, some_operations(5000, 3), comms=("a", "b", "c"))
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(bytes(content))

    with pytest.raises(TraceError, match=r"t\.parquet: row group 0 is damaged"):
        read_operations(path)


def test_documented_columns_are_the_columns(project: Path) -> None:
    """The page on trace files names each column with type, unit and meaning, the keys, and the current version."""
    page = (project / "docs" / "reference" / "trace-format.md").read_text(encoding="utf-8")

    for field in SCHEMA:
        kind = "string, dictionary" if pa.types.is_dictionary(field.type) else str(field.type)
        unit, meaning = (field.metadata[key].decode() for key in (b"unit", b"description"))
        assert f"| `{field.name}` | {kind} | {unit} | {meaning} |\n" in page
    assert all(f"| `{key}` |" in page for key in TABLE_KEYS)
    assert f"\n| {OPERATION_FORMAT_VERSION} | " in page.split("| version |")[1].split("\n\n")[0]
