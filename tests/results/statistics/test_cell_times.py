"""Times of cells by number: the same answers as by name, whatever order and pieces the rows come in."""

import itertools
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from results.statistics.cell_times import CellTimes
from results.statistics.moments import difference_moments
from results.statistics.numbered_rows import PLACE, TRACE, NumberedRows
from results.store.labels import LABELS_SCHEMA, LabelledRun, write_labels
from results.store.run_store import RunStore
from results.summary import ComparisonError, priced_cells, summarize
from results.upkeep.compaction import compact
from tests.support.synthetic import POLICIES, cell, make_run, replicate_batches, small_model

BASELINE: Final = "kvm-3.0"


def windows(seed: int, replicates: int = 4) -> pl.DataFrame:
    """Return windows of cells of two workloads on two guests, a cell's windows together, some cells missing."""
    generator = np.random.default_rng(seed)
    rows = []
    for workload, guest, replicate in itertools.product(("fork", "exec"), ("small", "big"), range(replicates)):
        trace = (workload, guest, {"small": 1, "big": 8}[guest], 512, replicate, f"{workload}{guest}{replicate}")
        for policy in POLICIES:
            if generator.random() < 0.8 or policy == BASELINE:
                rows += [(*trace, policy, int(generator.integers(1, 10**12))) for _ in range(generator.integers(1, 4))]
    return pl.DataFrame(rows, schema=[*TRACE, "policy", "elapsed_ns"], orient="row")


def times_of(pieces: list[pl.DataFrame]) -> CellTimes:
    """Return the cells of some frames."""
    return CellTimes.of([NumberedRows.of(piece).piece() for piece in pieces])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), cut=st.integers(0, 40))
def test_numbers_give_what_names_give(seed: int, cut: int) -> None:
    """Differences, and the cells of a workload, are those of joins by name; no cut changes a digit, even of a cell."""
    rows = windows(seed)
    cells = rows.group_by(*TRACE, "policy", maintain_order=True).agg(pl.col("elapsed_ns").sum())
    base = cells.filter(pl.col("policy") == BASELINE).select("trace_digest", base="elapsed_ns")
    pairs = cells.join(base, on="trace_digest").with_columns(d=100.0 * (pl.col("elapsed_ns") / pl.col("base") - 1.0))
    by = [*PLACE, "policy"]

    times = times_of([rows[cut:], rows[:cut]])

    numbered = rows.with_columns(pl.col(pl.String).cast(pl.Categorical))
    assert times_of([rows]).differences(BASELINE).equals(times.differences(BASELINE))
    assert times_of([numbered]).differences(BASELINE).equals(times.differences(BASELINE))
    assert_frame_equal(
        times.differences(BASELINE).sort(by), difference_moments(pairs, "d", by).sort(by), check_dtypes=False
    )
    assert times.only(["idle"], [BASELINE]).is_empty()
    assert times.unlike(BASELINE).is_empty()
    found = times.only(["exec"], [BASELINE, "tdp"]).sort("trace_digest", "policy")
    expected = cells.filter(pl.col("workload") == "exec", pl.col("policy").is_in([BASELINE, "tdp"]))
    assert_frame_equal(found, expected.sort("trace_digest", "policy").select(found.columns))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_no_digit_depends_on_the_order_of_the_rows(seed: int) -> None:
    """Shuffled windows, and groups that come in another order, give the same bits."""
    rows = windows(seed)
    shuffled = rows.sample(fraction=1.0, shuffle=True, seed=seed)

    found = times_of([shuffled[40:], shuffled[:40]])

    assert found.differences(BASELINE).equals(times_of([rows]).differences(BASELINE))
    assert found.counts().equals(times_of([rows]).counts())


def test_sums_hold_every_row_once() -> None:
    """Sums per policy are exact, also where places come in turns and are more than the rows can number."""
    rows = windows(1)
    alternating = rows.sort("replicate", "policy", "trace_digest")
    by = [*PLACE, "policy"]

    found = NumberedRows.of(alternating).sums(["elapsed_ns"]).group_by(by).agg(pl.col("elapsed_ns", "rows").sum())

    expected = rows.group_by(by).agg(pl.col("elapsed_ns").sum(), rows=pl.len())
    assert_frame_equal(found.sort(by), expected.sort(by), check_dtypes=False)


def test_a_run_has_one_summary(tmp_path: Path) -> None:
    """Compaction, the order of the commits and twins under a second name change no bit of a policy's row."""
    batches = replicate_batches(3)
    straight, compacted = make_run(tmp_path / "a", batches), make_run(tmp_path / "b", batches[::-1])
    compact(compacted)
    twins = make_run(tmp_path / "c", batches)
    names = twins.scan_cells().select(LABELS_SCHEMA.names()).collect()
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

    assert cells.rows == len(POLICIES)
    for pieces in (cells, windows_there):
        rows = pl.concat([read(["cell_id"]) for read in pieces.readers]).collect()
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
    rows = windows(3).filter((pl.col("policy") != BASELINE) | (pl.col("workload") == "fork"))

    differences = times_of([rows]).differences(BASELINE)

    assert differences["workload"].unique().to_list() == ["fork"]
