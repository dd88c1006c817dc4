"""Two runs as one: a union that does not know who came first, or an error that names what differs."""

import itertools
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from engine.vocabulary import COUNTER_INDEX
from results.store.labels import LABELS_FILE, LABELS_SCHEMA, LabelledRun
from results.store.rows import cells_table, failures_table, windows_table
from results.store.run_store import RunStore
from results.store.storage import DamageError, StoreError
from results.upkeep.compaction import compact
from results.upkeep.diff import diff_runs
from results.upkeep.fsck import check_run
from results.upkeep.merging import merge_runs
from tests.support.synthetic import (
    POLICIES,
    PROVENANCE,
    SPEC,
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

    names = LabelledRun(merged).scan("cells").collect()
    assert sorted(names.filter(pl.col("cell_id").str.starts_with(one.cell_id))["policy"]) == ["kvm-3.0", "mine"]
    assert names.height == 4 + 1 + 1
    assert merged.failures().collect()["cell_id"].to_list() == [other.cell_id]


def test_history_comes_along(tmp_path: Path) -> None:
    """Provenance keeps the starts of both runs, and the fingerprint of their engine."""
    make_run(tmp_path / "a", replicate_batches(1))
    make_run(tmp_path / "b", replicate_batches(2)[1:]).write_provenance([PROVENANCE | {"started": "then"}])

    merged = merge_runs(tmp_path / "a", tmp_path / "b", tmp_path / "c")

    assert [record.get("started") for record in merged.provenance()] == ["now", "then", None]
    assert {record["code_fingerprint"] for record in merged.provenance()} == {"f1"}
    assert json.loads((merged.path / "spec.json").read_text()) == RunStore(tmp_path / "a").spec()


def test_runs_of_two_engines_are_not_merged(tmp_path: Path) -> None:
    """What two engines say is not comparable, even of other cells: the refusal names them, and nothing is written."""
    make_run(tmp_path / "a", replicate_batches(1))
    make_run(tmp_path / "b", replicate_batches(2)[1:]).write_provenance([PROVENANCE | {"code_fingerprint": "f2"}])

    with pytest.raises(StoreError, match=r"different engines: f1 in .*/a, f2 in .*/b\. Their cells are not comparable"):
        merge_runs(tmp_path / "a", tmp_path / "b", tmp_path / "c")

    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("lost", ["spec.json", "provenance.json"])
def test_a_merge_overwrites_no_damaged_run(tmp_path: Path, lost: str) -> None:
    """A place whose run has lost a file is not free."""
    make_run(tmp_path / "a", replicate_batches(1))
    out = make_run(tmp_path / "c", replicate_batches(2)[1:])
    (out.path / lost).unlink()
    before = every_file(out)

    with pytest.raises(DamageError, match=f"{lost}: missing, and the run has rows"):
        merge_runs(tmp_path / "a", tmp_path / "a", out.path)

    assert every_file(out) == before


def respecified(path: Path, batches: Any, **settings: Any) -> RunStore:
    """Write a run whose specification has other settings."""
    store = make_run(path, batches)
    store.create(SPEC | settings, PROVENANCE)
    return store


def test_settings_that_differ_are_asked_for(tmp_path: Path) -> None:
    """Without a preference nothing is written and each setting is named; with one that run's counts, either way."""
    first = respecified(tmp_path / "a", replicate_batches(1), name="x", baseline="kvm-3.3", seed=1)
    second = respecified(tmp_path / "b", replicate_batches(2)[1:], name="y", baseline="tdp", seed=2)

    with pytest.raises(StoreError) as refused:
        merge_runs(first.name, second.name, tmp_path / "c")
    there = (tmp_path / "c").exists()
    ab = merge_runs(first.name, second.name, tmp_path / "1" / "c", prefer=second.name)
    ba = merge_runs(second.name, first.name, tmp_path / "2" / "c", prefer=second.name)

    assert not there
    assert "differ in baseline, seed. Say which counts: --prefer " in str(refused.value)
    assert f'baseline: "kvm-3.3" in {first.name}, "tdp" in {second.name}' in str(refused.value)
    assert ab.spec() == ba.spec() == SPEC | {"name": "c", "baseline": "tdp", "seed": 2}
    assert every_file(ab) == every_file(ba)


def test_a_preference_for_neither_is_refused(tmp_path: Path) -> None:
    """What is preferred must be one of the two."""
    for name in ("a", "b"):
        make_run(tmp_path / name, replicate_batches(1))

    with pytest.raises(StoreError, match=r"--prefer c: neither of the two runs\. Allowed: "):
        merge_runs(tmp_path / "a", tmp_path / "b", tmp_path / "c", prefer="c")


def test_prices_that_differ_are_asked_for(tmp_path: Path) -> None:
    """Two price lists of one name are not mixed up: the preferred run's comes along."""
    first, second = (make_run(tmp_path / name, replicate_batches(1)) for name in ("a", "b"))
    first.storage.put("costs.json", b"1")
    second.storage.put("costs.json", b"2")

    with pytest.raises(StoreError, match=r"have different prices under the name 'nehalem-2011'\. Give --prefer"):
        merge_runs(first.name, second.name, tmp_path / "c")
    merged = merge_runs(first.name, second.name, tmp_path / "c", prefer=second.name)

    assert merged.storage.read("costs.json") == b"2"


def test_two_cells_of_the_same_names_are_refused(tmp_path: Path) -> None:
    """Runs of two seeds give no table in which replicate 0 is two things; the message says what differs."""
    make_run(tmp_path / "a", replicate_batches(1))
    make_run(tmp_path / "b", [("b", [cell("tdp", seed=7)])])

    with pytest.raises(StoreError) as refused:
        merge_runs(tmp_path / "a", tmp_path / "b", tmp_path / "c")

    assert "mean 1 different cells by the same names, such as policy tdp, workload kernbench" in str(refused.value)
    assert any(f"seed {one} and {other}" in str(refused.value) for one, other in itertools.permutations((7, 2**64 - 1)))
    assert not (tmp_path / "c").exists()


def test_damage_is_not_merged(tmp_path: Path) -> None:
    """A changed byte is not given a new hash: the merge names the file and writes nothing."""
    runs = [make_run(tmp_path / name, replicate_batches(1)) for name in ("a", "b")]
    path = runs[1].path / runs[1].manifest.files("windows")[0]
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)

    with pytest.raises(DamageError, match=rf"windows/{path.name}: \d+ bytes with hash"):
        merge_runs(tmp_path / "a", tmp_path / "b", tmp_path / "c")

    assert not (tmp_path / "c").exists()
