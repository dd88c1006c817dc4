"""Summing up a run: the same digits whatever order and pieces the rows come in."""

import itertools
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from results.statistics.moments import difference_moments
from results.statistics.pairing import ComparisonError
from results.store.labels import LABELS_SCHEMA, LabelledRun, write_labels
from results.store.run_store import RunStore
from results.summary import GROUP, TRACE, PricedCells, differences_to, priced_cells, summarize
from results.upkeep.compaction import compact
from tests.support.synthetic import POLICIES, cell, make_run, replicate_batches, small_model

BASELINE: Final = "kvm-3.0"


def times(seed: int, replicates: int = 4) -> pl.DataFrame:
    """Return the times of cells of two workloads on two guests, some cells missing."""
    generator = np.random.default_rng(seed)
    rows = []
    for workload, guest, replicate in itertools.product(("fork", "exec"), ("small", "big"), range(replicates)):
        trace = (workload, guest, {"small": 1, "big": 8}[guest], 512, replicate, f"{workload}{guest}{replicate}")
        there = [policy for policy in POLICIES if generator.random() < 0.8 or policy == BASELINE]
        rows += [(*trace, policy, int(generator.integers(1, 10**12))) for policy in there]
    return pl.DataFrame(rows, schema=[*TRACE, "policy", "elapsed_ns"], orient="row")


def priced(cells: pl.DataFrame) -> PricedCells:
    """Return cells as summaries take them."""
    sums = cells.group_by(*GROUP, "policy").agg(pl.col("elapsed_ns").sum())
    return PricedCells(sums=sums.cast({pl.Categorical: pl.String}), times=cells)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_differences_are_those_of_pairs_by_name(seed: int) -> None:
    """Mean and deviation are those of pairs on the same trace; the order of the cells changes no digit of them."""
    cells = times(seed)
    base = cells.filter(pl.col("policy") == BASELINE).select("trace_digest", base="elapsed_ns")
    pairs = cells.join(base, on="trace_digest").with_columns(d=100.0 * (pl.col("elapsed_ns") / pl.col("base") - 1.0))
    by = [*GROUP, "policy"]

    found = differences_to(priced(cells), BASELINE)

    assert_frame_equal(found.sort(by), difference_moments(pairs, "d", by).sort(by), check_dtypes=False)
    shuffled = cells.sample(fraction=1.0, shuffle=True, seed=seed)
    categorical = shuffled.with_columns(pl.col(pl.String).cast(pl.Categorical))
    assert differences_to(priced(shuffled), BASELINE).equals(found)
    assert differences_to(priced(categorical), BASELINE).equals(found)


def test_a_run_has_one_summary(tmp_path: Path) -> None:
    """Compaction, the order of the commits and twins under a second name change no bit of a policy's row."""
    batches = replicate_batches(3)
    straight, compacted = make_run(tmp_path / "a", batches), make_run(tmp_path / "b", batches[::-1])
    compact(compacted)
    twins = make_run(tmp_path / "c", batches)
    names = twins.scan("cells").select(LABELS_SCHEMA.names()).collect()
    again = names.filter(pl.col("policy") == "tdp").with_columns(policy=pl.lit("tdp again"))
    write_labels(twins.storage, [names, again])

    summary, other, doubled = (
        summarize(LabelledRun(store), small_model(), BASELINE) for store in (straight, compacted, twins)
    )

    assert summary.equals(other)
    means = pl.exclude("p_holm", "verdict")  # Those depend on how many differences a table has.
    assert doubled.filter(pl.col("policy") != "tdp again").select(means).equals(summary.select(means))
    assert doubled.filter(pl.col("policy").str.starts_with("tdp")).drop("policy").n_unique() == 1


def test_cells_without_names_of_their_own_are_refused(tmp_path: Path) -> None:
    """Two cells of one name, which no labels tell apart, are an error and no mean."""
    store = make_run(tmp_path, [("one", [cell(BASELINE)]), ("two", [cell(BASELINE, page_cache_share=0.25)])])

    with pytest.raises(ComparisonError, match=r"policy 'kvm-3\.0'.*2 cells, but windows of 1 under different names"):
        priced_cells(LabelledRun(store), small_model())


def test_a_batch_committed_meanwhile_is_left_out(tmp_path: Path) -> None:
    """Cells and windows are those of the same commits, though a sweep goes on while it is summed up."""
    batches = replicate_batches(2)
    store = make_run(tmp_path, batches[:1])
    cells, windows_there = LabelledRun(store).pieces(("cells", "windows"))
    make_run(tmp_path, batches)

    for pieces in (cells, windows_there):
        rows = pl.concat(pieces).select("cell_id").collect()
        assert rows["cell_id"].n_unique() == len(POLICIES)


def test_an_unfinished_run_has_no_cells(tmp_path: Path) -> None:
    """A run without a commit has nothing to summarize, and says so."""
    store = RunStore(tmp_path)
    store.create({"name": "empty"}, {"code_fingerprint": "f"})

    assert priced_cells(LabelledRun(store), small_model()) is None
    with pytest.raises(ComparisonError, match="no cell is finished"):
        summarize(LabelledRun(store), small_model(), BASELINE)


def test_policies_without_the_baseline_have_no_difference() -> None:
    """A place at which the baseline is not finished has times and no differences."""
    cells = times(3).filter((pl.col("policy") != BASELINE) | (pl.col("workload") == "fork"))

    differences = differences_to(priced(cells), BASELINE)

    assert differences["workload"].unique().to_list() == ["fork"]
