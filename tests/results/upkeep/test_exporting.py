"""One file of one table: the same rows in every format, whole or absent."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from results.store.labels import LABELS_FILE, LABELS_SCHEMA
from results.store.run_store import RunStore
from results.store.schema import table_schema
from results.store.storage import StoreError
from results.upkeep import exporting
from results.upkeep.compaction import compact
from results.upkeep.exporting import FORMS, export
from tests.support.synthetic import cell, make_run, replicate_batches

READ: Final[dict[str, Callable[[Path], pl.DataFrame]]] = {
    ".parquet": pl.read_parquet,
    ".csv": lambda path: pl.read_csv(path, schema=pl.from_arrow(table_schema("cells").empty_table()).schema),
    ".arrow": pl.read_ipc,
    ".feather": pl.read_ipc,
}


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    """Return a run of three batches, two of them compacted."""
    made = make_run(tmp_path / "run", replicate_batches(2))
    compact(made)
    return make_run(tmp_path / "run", replicate_batches(3)[2:])


@pytest.mark.parametrize("suffix", FORMS)
def test_every_format_has_the_same_rows(store: RunStore, tmp_path: Path, suffix: str) -> None:
    """A file of any format holds each row and value of the table, and nothing else is left beside it."""
    out = tmp_path / "out" / f"cells{suffix}"
    out.parent.mkdir()

    rows = export(store, out)

    assert rows == 12
    assert READ[suffix](out).sort("cell_id").equals(store.scan("cells").collect().sort("cell_id"))
    assert [path.name for path in out.parent.iterdir()] == [out.name]


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_a_file_describes_itself(store: RunStore, tmp_path: Path, suffix: str) -> None:
    """Unit, description and source of each column come along, and what made the rows."""
    out = tmp_path / f"windows{suffix}"

    assert export(store, out, table="windows") == 36

    schema = pq.read_schema(out) if suffix == ".parquet" else pa.ipc.open_file(out).schema
    for expected in table_schema("windows"):
        assert expected.metadata.items() <= schema.field(expected.name).metadata.items()
    assert schema.metadata[b"code_fingerprint"] == b"f1"


def test_row_groups_do_not_tell_the_files_of_the_run(
    store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are written in groups of one size, in the order of the run, however few rows its files have."""
    monkeypatch.setattr(exporting, "ROW_GROUP_ROWS", 5)

    export(store, tmp_path / "x.parquet")
    export(store, tmp_path / "x.arrow")

    with pq.ParquetFile(tmp_path / "x.parquet") as file, pa.ipc.open_file(tmp_path / "x.arrow") as arrow:
        assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [5, 5, 2]
        assert [arrow.get_batch(i).num_rows for i in range(arrow.num_record_batches)] == [5, 5, 2]
        assert file.read().to_pylist() == store.scan("cells").collect().to_dicts() == arrow.read_all().to_pylist()


@pytest.mark.parametrize("suffix", FORMS)
def test_an_empty_run_has_a_file_with_columns(tmp_path: Path, suffix: str) -> None:
    """Before the first batch an export has no row, and its columns all the same."""
    out = tmp_path / f"x{suffix}"

    assert export(make_run(tmp_path / "run", []), out) == 0

    assert (READ[suffix](out).columns, READ[suffix](out).height) == (table_schema("cells").names, 0)


def test_rows_bear_the_names_of_the_sweep(store: RunStore, tmp_path: Path) -> None:
    """What the sweep calls a policy now is what the file calls it."""
    row = {"cell_id": cell("tdp").cell_id, "policy": "mine", "workload": "w", "guest": "g", "replicate": 7}
    pl.DataFrame([row], schema=LABELS_SCHEMA).write_parquet(store.path / LABELS_FILE)

    assert export(store, tmp_path / "x.parquet") == 1

    assert pl.read_parquet(tmp_path / "x.parquet").select("policy", "replicate").rows() == [("mine", 7)]


def test_what_can_not_be_written_is_named(store: RunStore, tmp_path: Path) -> None:
    """Unknown formats and tables list those that are known; a missing folder leaves nothing."""
    with pytest.raises(StoreError, match=r"unknown format '\.xlsx'\. Give a name that ends in \.parquet, \.csv"):
        export(store, tmp_path / "x.xlsx")
    with pytest.raises(StoreError, match=r"table 'rows' is unknown\. Allowed: cells, windows"):
        export(store, tmp_path / "x.csv", table="rows")
    with pytest.raises(FileNotFoundError):
        export(store, tmp_path / "nowhere" / "x.csv")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
