"""Runs are read by programs that know nothing of this project: each in a process that imports its library alone."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from results.compaction import compact
from results.store import RunStore
from tests.results.synthetic import make_run, replicate_batches

ROOT: Final = Path(__file__).parents[2]
SPARK: Final = ROOT / ".venv-spark" / "bin" / "python"
TABLES: Final = ("cells", "windows")
SHOW: Final = """
import json, sys
folder, keys = sys.argv[1], sys.argv[2:]
columns = read(folder)
order = sorted(range(len(columns["cell_id"])), key=lambda row: [columns[key][row] for key in keys])
assert not {"engine", "results", "sweep"} & set(sys.modules)
print(json.dumps({name: [values[row] for row in order] for name, values in columns.items()}, default=int))
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
    }
    builder = SparkSession.builder.master("local[1]")
    for option, value in options.items():
        builder = builder.config(option, value)
    spark = builder.getOrCreate()
    found = spark.read.parquet(folder)
    columns = dict(zip(found.columns, zip(*found.collect())))
    spark.stop()
    return columns
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """Return a run of three batches, two of them compacted."""
    made = make_run(tmp_path_factory.mktemp("interop") / "run", replicate_batches(2))
    compact(made)
    return make_run(made.path, replicate_batches(3)[2:])


def read_by(python: Path | str, read: str, store: RunStore, table: str) -> dict[str, list[Any]]:
    """Return a table as another program reads it, in a folder and with a path that hide this project."""
    keys = ["cell_id", *(["window"] if table == "windows" else [])]
    command = [str(python), "-I", "-c", read + SHOW, str(store.path / table), *keys]
    environment = os.environ | {"SPARK_LOCAL_IP": "127.0.0.1"}
    done = subprocess.run(command, cwd=store.path, check=True, capture_output=True, text=True, env=environment)
    found: dict[str, list[Any]] = json.loads(done.stdout)
    return found


def ours(store: RunStore, table: str) -> dict[str, list[Any]]:
    """Return a table as our reader has it."""
    rows = store.scan(table).collect()
    keys = ["cell_id", *(["window"] if table == "windows" else [])]
    return rows.sort(keys).to_dict(as_series=False)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("reader", READERS)
def test_other_programs_read_the_same_table(store: RunStore, reader: str, table: str) -> None:
    """A plain glob gives every column, row and value that our own reader gives, in the same order of columns."""
    found = read_by(sys.executable, READERS[reader], store, table)

    assert list(found) == store.scan(table).collect_schema().names()
    assert found == ours(store, table)


@pytest.mark.slow
def test_spark_reads_the_same_table(store: RunStore) -> None:
    """Spark reads the table of cells as we do; an unsigned 64-bit column is a decimal there."""
    if shutil.which("java") is None:
        pytest.skip("no java here; Spark needs one: apt-get install default-jre-headless, then make .venv-spark")
    if not SPARK.exists():
        pytest.skip(f"{SPARK.relative_to(ROOT)} is missing: make .venv-spark")

    found = read_by(SPARK, READ_SPARK, store, "cells")

    assert found == ours(store, "cells")
