"""Reading a run: through the public names, and without any code of ours."""

import re
from pathlib import Path
from typing import Any, Final

import duckdb
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import results
from engine.vocabulary import COUNTER_NAMES
from results.run import Run
from results.store.columns import TABLES, columns_markdown
from results.store.storage import StoreError
from results.upkeep.compaction import compact
from tests.support.project import ROOT
from tests.support.synthetic import PROVENANCE, SPEC, make_run, replicate_batches, small_model

PUBLIC: Final = [
    "Comparison",
    "ComparisonError",
    "Completeness",
    "CostModel",
    "Doubt",
    "Explanation",
    "Run",
    "RunStore",
    "cost_model_from_mapping",
    "diff_runs",
    "metric_expressions",
    "open",
    "seed_comparison",
    "summarize",
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a run of three batches, two of them compacted."""
    store = make_run(tmp_path / "run", replicate_batches(2))
    compact(store)
    return make_run(tmp_path / "run", replicate_batches(3)[2:]).path


def test_the_public_names_are_these() -> None:
    """Adding or removing a public name is a decision, so it changes this test."""
    assert sorted(results.__all__) == PUBLIC
    assert all(callable(getattr(results, name)) for name in PUBLIC)


def test_other_names_are_errors() -> None:
    """A name that is not public is an error that lists those that are."""
    with pytest.raises(AttributeError, match=r"has no attribute 'load'\. Public names: Comparison, ComparisonError, "):
        _ = results.load


def test_open_gives_typed_tables(path: Path) -> None:
    """`results.open` gives LazyFrames with exactly the documented columns, and where they come from."""
    run = results.open(path)

    assert isinstance(run, Run)
    assert run.cells().collect_schema().names() == [column.name for column in TABLES["cells"]]
    assert run.windows().collect_schema().names() == [column.name for column in TABLES["windows"]]
    assert run.failures().collect().height == 0
    assert (run.spec, run.provenance) == (SPEC, [PROVENANCE, PROVENANCE])
    assert run.orphans() == []
    assert run.summary(small_model(), "kvm-3.0").height == 4
    assert run.priced(small_model()).height == 12


def test_open_refuses_a_damaged_run(path: Path) -> None:
    """A run with a cut file is no run to conclude from; the error names the file. `RunStore` reads the rest."""
    part = next((path / "windows").glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-1])

    with pytest.raises(StoreError, match=part.name):
        results.open(path)
    assert results.RunStore(path).scan("cells").collect().height == 12


def test_an_empty_run_has_typed_tables(tmp_path: Path) -> None:
    """Before the first batch the tables are empty and have their columns."""
    run = results.open(make_run(tmp_path, []).path)

    assert run.cells().collect().is_empty()
    assert run.cells().collect_schema()["exits"] == pl.Int64
    assert run.failures().collect_schema()["message"] == pl.String


READERS: Final[dict[str, Any]] = {
    "polars": lambda folder: pl.read_parquet(folder / "*.parquet").to_dict(as_series=False),
    "duckdb": lambda folder: duckdb.read_parquet(f"{folder}/*.parquet").to_arrow_table().to_pydict(),
    "pandas": lambda folder: pd.read_parquet(folder).to_dict("list"),
    "pyarrow": lambda folder: ds.dataset(folder, format="parquet").to_table().to_pydict(),
}


@pytest.mark.parametrize("table", ["cells", "windows"])
@pytest.mark.parametrize("reader", READERS)
def test_any_reader_sees_the_same_table(path: Path, reader: str, table: str) -> None:
    """A plain glob over the folder gives the same rows and values as our own reader."""
    run = results.open(path)
    ours = (run.cells() if table == "cells" else run.windows()).collect()
    keys = ["cell_id"] if table == "cells" else ["cell_id", "window"]

    theirs = pl.DataFrame(READERS[reader](path / table), schema=ours.schema)

    assert theirs.sort(keys).equals(ours.sort(keys))
    assert theirs.height == (12 if table == "cells" else 36)


def test_the_page_about_columns_is_fresh() -> None:
    """docs/reference/columns.md is what the tables say; `python -m results.store.columns` writes it."""
    assert (ROOT / "docs" / "reference" / "columns.md").read_text(encoding="utf-8") == columns_markdown()


def test_the_snippets_of_the_how_to_work(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every Python snippet of docs/how-to/read-results.md runs on a run."""
    page = (ROOT / "docs" / "how-to" / "read-results.md").read_text(encoding="utf-8")
    snippets = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)

    for snippet in snippets:
        exec(compile(snippet.replace("runs/kernbench", str(path)), "read-results.md", "exec"), {})

    assert len(snippets) >= 5
    assert "exits" in capsys.readouterr().out


def test_every_part_has_every_counter(path: Path) -> None:
    """No part of either table lacks a counter, and no counter has a null."""
    for part in path.glob("[cw]*/*.parquet"):
        rows = pq.read_table(part, columns=list(COUNTER_NAMES))

        assert sum(column.null_count for column in rows.columns) == 0
