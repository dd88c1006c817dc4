"""Differences between runs: none where only files differ, named where rows do."""

from pathlib import Path

import pytest

from engine.vocabulary import COUNTER_INDEX
from results.store.rows import cells_table, windows_table
from results.store.storage import StoreError
from results.upkeep.compaction import compact
from results.upkeep.diff import diff_runs
from tests.support.synthetic import PROVENANCE, cell, make_run, replicate_batches, totals_of, trace, windows_of


def test_files_do_not_matter(tmp_path: Path) -> None:
    """A run equals its compacted twin that was written in another order."""
    make_run(tmp_path / "a", replicate_batches(3))
    compact(make_run(tmp_path / "b", replicate_batches(3)[::-1]))

    found = diff_runs(tmp_path / "a", tmp_path / "b")

    assert found.identical
    assert found.text() == "cells: identical (12 rows)\nwindows: identical (36 rows)\n"


def test_missing_cells_are_named(tmp_path: Path) -> None:
    """Cells of one run only are listed with the run that has them."""
    make_run(tmp_path / "a", replicate_batches(1))
    make_run(tmp_path / "b", replicate_batches(1, policies=("kvm-3.0", "tdp", "oracle")))

    found = diff_runs(tmp_path / "a", tmp_path / "b")

    assert not found.identical
    assert set(found.tables[0].only_in_first) == {cell(policy).cell_id for policy in ("kvm-3.3", "xiao-v1")}
    assert found.tables[0].only_in_second == (cell("oracle").cell_id,)
    named = f"oracle on small, kernbench, replicate 0 ({cell('oracle').cell_id})"
    assert f"cells: 1 cell only in {tmp_path / 'b'}: {named}\n" in found.text()
    assert f"cells: 2 cells only in {tmp_path / 'a'}: " in found.text()
    assert f"windows: 2 cells only in {tmp_path / 'a'}: those of cells\n" in found.text()


def test_a_changed_counter_is_found(tmp_path: Path) -> None:
    """One count in one window shows in both tables, under its column and its cell, and nowhere else."""
    cells = [cell("kvm-3.0"), cell("kvm-3.3")]
    make_run(tmp_path / "a", [("b", cells)])
    other = make_run(tmp_path / "b", [])
    counts = windows_of(cells)
    counts[2, 1, COUNTER_INDEX["exits"]] += 1
    other.commit(
        other.write_part(
            "b",
            {"cells": cells_table(cells, totals_of(counts), trace()), "windows": windows_table(cells, counts, trace())},
        )
    )

    found = diff_runs(tmp_path / "a", tmp_path / "b")

    assert [table.columns for table in found.tables] == [{"exits": (cells[1].cell_id,)}] * 2
    named = f"kvm-3.3 on small, kernbench, replicate 0 ({cells[1].cell_id})"
    assert f"windows: column 'exits' differs in 1 cell: {named}\n" in found.text()


def test_empty_runs_are_equal(tmp_path: Path) -> None:
    """Two runs without results do not differ."""
    for name in ("a", "b"):
        make_run(tmp_path / name, [])

    assert diff_runs(tmp_path / "a", tmp_path / "b").identical


def test_a_folder_without_a_run_is_an_error(tmp_path: Path) -> None:
    """Nothing is not equal to anything."""
    make_run(tmp_path / "a", [])

    with pytest.raises(StoreError, match="no run here"):
        diff_runs(tmp_path / "a", tmp_path / "b")


def test_provenance_is_no_result(tmp_path: Path) -> None:
    """Runs of another host or time are equal if their rows are."""
    make_run(tmp_path / "a", replicate_batches(1))
    make_run(tmp_path / "b", replicate_batches(1)).create({}, PROVENANCE | {"host": "there"})

    assert diff_runs(tmp_path / "a", tmp_path / "b").identical
