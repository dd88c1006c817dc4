"""Two runs as one: a union that does not know who came first, or an error that names what differs."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from engine.vocabulary import COUNTER_INDEX
from results.compaction import compact
from results.diff import diff_runs
from results.fsck import check_run
from results.labels import LABELS_FILE, LABELS_SCHEMA, LabelledRun
from results.manifest import StoreError
from results.merging import merge_runs, merged_spec
from results.rows import cells_table, failures_table, windows_table
from results.store import RunStore
from tests.results.synthetic import (
    POLICIES,
    PROVENANCE,
    cell,
    failed,
    make_run,
    replicate_batches,
    totals_of,
    trace,
    windows_of,
)


def every_file(store: RunStore) -> dict[str, bytes]:
    """Return all files of a run."""
    return {str(path.relative_to(store.path)): path.read_bytes() for path in store.path.rglob("*") if path.is_file()}


def test_the_order_of_the_arguments_leaves_no_trace(tmp_path: Path) -> None:
    """Runs that share some cells give the same files either way, and each cell once."""
    make_run(tmp_path / "a", replicate_batches(3))
    compact(make_run(tmp_path / "b", replicate_batches(4, policies=("tdp", "kvm-6.1"))))

    first = merge_runs(tmp_path / "a", tmp_path / "b", tmp_path / "ab", roll_rows=20)
    second = merge_runs(tmp_path / "b", tmp_path / "a", tmp_path / "ba", roll_rows=20)

    assert every_file(first) == every_file(second)
    assert first.finished_cells() == {
        *(cell(policy, r).cell_id for policy in POLICIES for r in range(3)),
        *(cell(policy, r).cell_id for policy in ("tdp", "kvm-6.1") for r in range(4)),
    }
    assert check_run(first).findings == []


def test_merging_with_itself_changes_no_row(tmp_path: Path) -> None:
    """The union of a run and its copy is that run."""
    make_run(tmp_path / "a", replicate_batches(2))
    compact(make_run(tmp_path / "b", replicate_batches(2)[::-1]))

    merge_runs(tmp_path / "a", tmp_path / "b", tmp_path / "c")

    assert diff_runs(tmp_path / "a", tmp_path / "c").identical


def run_of(path: Path, cells: list[Any], counts: Any) -> RunStore:
    """Write a run of one batch with these counters."""
    store = make_run(path, [])
    facts = trace(len(counts))
    rows = {"cells": cells_table(cells, totals_of(counts), facts), "windows": windows_table(cells, counts, facts)}
    store.commit(store.write_part("b", rows))
    return store


def test_different_answers_are_refused(tmp_path: Path) -> None:
    """One count of one shared cell that differs stops the merge, is named, and nothing is written."""
    cells = [cell("kvm-3.0"), cell("kvm-3.3")]
    make_run(tmp_path / "a", [("b", cells)])
    counts = windows_of(cells)
    counts[2, 1, COUNTER_INDEX["exits"]] += 1
    run_of(tmp_path / "b", cells, counts)

    with pytest.raises(StoreError, match=rf"different answers for 1 of.*'exits', cells {cells[1].cell_id}\."):
        merge_runs(tmp_path / "a", tmp_path / "b", tmp_path / "c")

    assert not (tmp_path / "c").exists()


def test_other_windows_are_another_answer(tmp_path: Path) -> None:
    """A shared cell that has a window more in one run stops the merge."""
    cells = [cell("kvm-3.0")]
    counts = windows_of(cells, 4)
    counts[3] = 0
    run_of(tmp_path / "a", cells, counts)
    run_of(tmp_path / "b", cells, counts[:3])

    with pytest.raises(StoreError, match="different answers for 1 of the same cells"):
        merge_runs(tmp_path / "a", tmp_path / "b", tmp_path / "c")


def test_a_run_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    """The target must be new."""
    for name in ("a", "b"):
        make_run(tmp_path / name, replicate_batches(1))

    with pytest.raises(StoreError, match="there is a run"):
        merge_runs(tmp_path / "a", tmp_path / "b", tmp_path / "b")


def test_names_and_failures_come_along(tmp_path: Path) -> None:
    """A cell that goes by two names keeps both; a failure stays unless the other run has the cell."""
    first, second = make_run(tmp_path / "a", replicate_batches(1)), make_run(tmp_path / "b", replicate_batches(1))
    one, other, third = cell("kvm-3.0"), cell("kvm-6.1"), cell("oracle")
    row = {"cell_id": one.cell_id, "policy": "mine", "workload": "w", "guest": "g", "replicate": 0}
    pl.DataFrame([row], schema=LABELS_SCHEMA).write_parquet(first.path / LABELS_FILE)
    first.record_failures("x", failures_table([other, third], failed("first")))
    second.record_failures("x", failures_table([other], failed("second")))
    make_run(second.path, [("late", [third])])

    merged = merge_runs(first.name, second.name, tmp_path / "c")

    names = LabelledRun(merged).scan_cells().collect()
    assert sorted(names.filter(pl.col("cell_id").str.starts_with(one.cell_id))["policy"]) == ["kvm-3.0", "mine"]
    assert names.height == 4 + 1 + 1
    assert merged.failures().collect()["cell_id"].to_list() == [other.cell_id]


def test_specifications_are_joined() -> None:
    """Lists are joined, the larger number of replicates counts, and the order of the two does not."""
    first = {"name": "b", "policies": [{"name": "x"}, {"name": "y"}], "replicates": 3, "seed": 1}
    second = {"name": "a", "policies": [{"name": "z"}, {"name": "x"}], "replicates": 5, "seed": 1}

    expected = {"name": "a", "policies": [{"name": "x"}, {"name": "y"}, {"name": "z"}], "replicates": 5, "seed": 1}
    assert merged_spec([first, second]) == merged_spec([second, first]) == expected


def test_history_comes_along(tmp_path: Path) -> None:
    """Provenance keeps the starts of both runs, and the fingerprints of both engines."""
    make_run(tmp_path / "a", replicate_batches(1))
    make_run(tmp_path / "b", replicate_batches(2)[1:]).write_provenance([PROVENANCE | {"code_fingerprint": "f2"}])

    merged = merge_runs(tmp_path / "a", tmp_path / "b", tmp_path / "c")

    assert [record["code_fingerprint"] for record in merged.provenance()] == ["f1", "f2", "f1+f2"]
    assert json.loads((merged.path / "spec.json").read_text()) == RunStore(tmp_path / "a").spec()
