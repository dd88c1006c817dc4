"""Runs are read by programs that know nothing of this project: each in a process that imports its library alone."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from results.store.columns import TABLES
from results.store.run_store import RunStore
from results.store.schema import SCHEMA_VERSION
from results.upkeep.compaction import compact
from tests.support.project import DATA, ROOT
from tests.support.synthetic import make_run, replicate_batches

SPARK: Final = ROOT / ".venv-spark" / "bin" / "python"
RUN: Final = DATA / "runs" / f"v{SCHEMA_VERSION}"
KEYS: Final = {
    "cells": ["cell_id"],
    "windows": ["cell_id", "window"],
    "activities": ["cell_id", "activity"],
    "failures": ["cell_id"],
}
"""Table -> what tells its rows apart."""
SHOW: Final = """
import json, sys
found = []
for word in sys.argv[1:]:
    folder, *keys = word.split("|")
    columns = read(folder)
    order = sorted(range(len(columns["cell_id"])), key=lambda row: [columns[key][row] for key in keys])
    found.append({name: [values[row] for row in order] for name, values in columns.items()})
assert not {"engine", "results", "sweep"} & set(sys.modules)
print(json.dumps(found, default=int))
"""
READERS: Final = {
    "polars": """
import polars
def read(folder):
    return polars.read_parquet(folder + "/*.parquet").to_dict(as_series=False)
""",
    "duckdb": """
import duckdb
def read(folder):
    found = duckdb.sql(f"select * from '{folder}/*.parquet'")
    return dict(zip(found.columns, zip(*found.fetchall())))
""",
    "pandas": """
import pandas
def read(folder):
    return pandas.read_parquet(folder).to_dict("list")
""",
    "pyarrow": """
import pyarrow.dataset
def read(folder):
    return pyarrow.dataset.dataset(folder, format="parquet").to_table().to_pydict()
""",
}
READ_SPARK: Final = """
from pyspark.sql import SparkSession
def read(folder):
    options = {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "1",
        # A quick compiler and no compiled queries: for a few rows, making code fast takes longer than running it.
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
        "spark.sql.codegen.wholeStage": "false",
    }
    builder = SparkSession.builder.master("local[1]")
    for option, value in options.items():
        builder = builder.config(option, value)
    spark = builder.getOrCreate()
    found = spark.read.parquet(folder)
    return dict(zip(found.columns, zip(*found.collect())))
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """Return a run of three batches, two of them compacted."""
    made = make_run(tmp_path_factory.mktemp("interop") / "run", replicate_batches(2))
    compact(made)
    return make_run(made.path, replicate_batches(3)[2:])


Columns = dict[str, list[Any]]
Tables = list[tuple[RunStore, str]]


def read_by(python: Path | str, read: str, tables: Tables) -> list[Columns]:
    """Return tables as another program reads them, in a folder and with a path that hide this project."""
    words = ["|".join([str(store.path.resolve() / table), *KEYS[table]]) for store, table in tables]
    command = [str(python), "-I", "-c", read + SHOW, *words]
    environment = os.environ | {"SPARK_LOCAL_IP": "127.0.0.1"}
    done = subprocess.run(command, cwd="/", check=True, capture_output=True, text=True, env=environment)
    found: list[Columns] = json.loads(done.stdout)
    return found


def ours(store: RunStore, table: str) -> Columns:
    """Return a table as our reader has it."""
    rows = store.failures() if table == "failures" else store.scan(table)
    return rows.collect().sort(KEYS[table]).to_dict(as_series=False)


@pytest.fixture
def tables(store: RunStore) -> Tables:
    """Return all four tables of a run that a sweep has written, and those of one whose parts are not all compacted."""
    return [*((RunStore(RUN), table) for table in KEYS), (store, "cells"), (store, "windows")]


@pytest.mark.parametrize("reader", READERS)
def test_other_programs_read_the_same_tables(tables: Tables, reader: str) -> None:
    """A plain glob gives every column, row and value that our own reader gives, in the same order of columns."""
    found = read_by(sys.executable, READERS[reader], tables)

    assert found == [ours(*table) for table in tables]
    assert [list(one) for one in found] == [[column.name for column in TABLES[table]] for _, table in tables]
    assert all(one["cell_id"] for one in found)


@pytest.mark.slow
def test_spark_reads_the_same_tables(tables: Tables) -> None:
    """Spark reads every table as we do; an unsigned 64-bit column is a decimal there."""
    if shutil.which("java") is None:
        pytest.skip("no java here; Spark needs one: apt-get install default-jre-headless, then make test")
    if not SPARK.exists():
        pytest.skip(f"{SPARK.relative_to(ROOT)} is missing: make test")

    assert read_by(SPARK, READ_SPARK, tables) == [ours(*table) for table in tables]
