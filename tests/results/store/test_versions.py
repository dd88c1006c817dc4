"""Runs of every schema version stay readable: each is in tests/data/runs, written by the code of its time."""

import shutil
from pathlib import Path
from typing import Final

import pytest

from results.store.columns import TABLES
from results.store.run_store import RunStore
from results.store.schema import SCHEMA_VERSION, table_schema
from results.upkeep.compaction import compact
from results.upkeep.diff import diff_runs
from results.upkeep.exporting import export
from results.upkeep.fsck import check_run
from results.upkeep.merging import merge_runs
from tests.support.project import DATA

RUNS: Final = DATA / "runs"
VERSIONS: Final = sorted(path.name for path in RUNS.iterdir())


@pytest.fixture(params=VERSIONS)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a copy of each run."""
    path = tmp_path / str(request.param)
    shutil.copytree(RUNS / str(request.param), path)
    return path


def test_there_is_a_run_of_every_version() -> None:
    """Whoever raises the version leaves a run of the one before."""
    assert {f"v{version}" for version in range(1, SCHEMA_VERSION)} <= set(VERSIONS)


def test_an_old_run_is_read(run: Path) -> None:
    """A run of any version is sound, and its tables have the present columns: null where there was none."""
    store = RunStore(run)
    version = int(run.name.removeprefix("v"))

    cells = store.scan("cells").collect()
    failures = store.failures().collect()

    assert check_run(store).findings == []
    assert cells.columns == [column.name for column in TABLES["cells"]]
    assert cells.height == 6
    assert store.scan("windows").collect().height > 3
    assert failures.height > 0
    for column in TABLES["failures"]:
        unknown = (column.since or 1) > version
        assert failures[column.name].null_count() == (failures.height if unknown else 0), column.name


def test_an_old_run_is_compacted_merged_and_exported(run: Path, tmp_path: Path) -> None:
    """Rewriting a run in the present version changes no row."""
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)

    store = RunStore(copy)
    compact(store, roll_rows=100)
    merge_runs(run, copy, tmp_path / "merged")
    rows = export(store, tmp_path / "cells.parquet")

    assert rows == 6
    assert diff_runs(run, copy).identical
    assert diff_runs(run, tmp_path / "merged").identical
    assert [entry.schema_version for entry in store.manifest.live()] == [SCHEMA_VERSION]
    assert table_schema("cells").names == store.scan("cells").collect_schema().names()
