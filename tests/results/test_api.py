"""The names that analyses outside of this project may rely on, and that they say what the command line says."""

import inspect
import json
import re
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import results
from results.compare.table import comparisons_csv
from results.prices.pricing import PRICE_COLUMNS
from results.store.columns import TABLES
from results.store.lost import COSTS_FILE
from results.store.storage import StoreError
from results.summary import summarize
from tests.support.project import DATA, ROOT
from tests.support.synthetic import SPEC, make_run, model_mapping, quantity, replicate_batches, small_model

SIGNATURES = {
    "activities": "()",
    "cells": "()",
    "compare": "(other, *, metric, rows, cols, baseline, where, minimum_effect, costs)",
    "completeness": "()",
    "deaths": "()",
    "explain": "(policy, baseline, *, workload, guest, stretches, costs)",
    "explain_activities": "(explanation, costs)",
    "failures": "()",
    "orphans": "()",
    "pairs": "(policy, baseline, *, workload, guest)",
    "pareto": "(metrics, costs)",
    "price": "(costs, *, baseline, samples, seed, minimum_effect)",
    "priced": "(costs)",
    "summary": "(costs, baseline)",
    "windows": "()",
}
COLUMNS = {
    "summary": (
        "workload guest vcpus memory_mib policy replicates native_s elapsed_s difference_percent difference_low "
        "difference_high p_holm verdict exits insn_emulation mmu_flooded mmu_shadow_zapped fatal lock_wait_s"
    ),
    "comparison": (
        "guest policy value value_low value_high replicates difference_percent difference_low difference_high "
        "difference_deviation p_holm verdict"
    ),
    "windows of an explanation": "stretch from_s to_s line part elapsed_ns",
    "conclusions": (
        "workload guest vcpus memory_mib policy replicates difference_percent difference_low difference_high p_holm "
        "verdict moved_most_by moved_percent decided_by cost_low cost_high verdict_stays share_better share_worse "
        "share_same share_open"
    ),
    "pareto": "workload guest vcpus memory_mib policy elapsed pages_peak exits beaten_by",
}


@pytest.fixture
def run(tmp_path: Path) -> results.Run:
    """Return a run of three replicates that carries its prices."""
    store = make_run(tmp_path / "run", replicate_batches(3))
    store.storage.put(COSTS_FILE, json.dumps(model_mapping()).encode())
    return results.open(tmp_path / "run")


def test_methods_of_a_run_are_pinned() -> None:
    """A run has these methods with these parameters, and each says what it returns."""
    methods = {
        name: value
        for name, value in vars(results.Run).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }
    shown = {
        name: str(
            inspect.signature(value).replace(
                parameters=[
                    p.replace(annotation=p.empty, default=p.empty)
                    for p in list(inspect.signature(value).parameters.values())[1:]
                ],
                return_annotation=inspect.Signature.empty,
            )
        )
        for name, value in methods.items()
    }

    assert shown == SIGNATURES
    assert [name for name, value in methods.items() if not (value.__doc__ or "").startswith("Return ")] == []


def test_tables_are_lazy_and_typed(run: results.Run) -> None:
    """Each table is a LazyFrame with exactly the documented columns, also where it has no row."""
    for table in ("cells", "windows", "activities", "failures"):
        frame = getattr(run, table)()
        assert isinstance(frame, pl.LazyFrame)
        assert frame.collect_schema().names() == [column.name for column in TABLES[table]]
    assert run.cells().collect().height == 12


def test_frames_have_the_pinned_columns(run: results.Run) -> None:
    """The columns of every answer are pinned: analyses outside read them by name."""
    (explanation,) = run.explain("kvm-3.3", stretches=2)
    found = {
        "summary": run.summary(),
        "comparison": run.compare(rows=["guest"]).cells,
        "windows of an explanation": explanation.windows,
        "conclusions": run.price(samples=10).conclusions,
        "pareto": run.pareto(),
    }

    assert {name: " ".join(frame.columns) for name, frame in found.items()} == COLUMNS
    assert set(PRICE_COLUMNS) < set(run.priced().columns)


def test_own_prices_and_baseline_are_the_default(run: results.Run) -> None:
    """Without arguments a run is read under its own prices and against its own baseline."""
    expected = summarize(run, small_model(), "kvm-3.0", policies=[p["name"] for p in SPEC["policies"]])

    assert run.baseline == "kvm-3.0"
    assert run.costs == small_model()
    assert run.summary().equals(expected)
    assert not run.summary(small_model(cpu_ghz=quantity(2.0))).equals(expected)


def test_every_way_to_a_difference_gives_the_same(run: results.Run) -> None:
    """Summary, comparison and price agree on each difference and its interval; the explanation on the sum of times.

    Price does not round windows to whole ns, so it agrees to 1e-4 % in this run of 25 ms.
    """
    summary = run.summary().filter(pl.col("policy") != "kvm-3.0").sort("policy")
    compared = run.compare(rows=["guest"]).cells.filter(pl.col("policy") != "kvm-3.0").sort("policy")
    priced = run.price().conclusions.sort("policy")

    for frame in (compared, priced):
        for column in ("difference_percent", "difference_low", "difference_high"):
            assert frame[column].to_list() == pytest.approx(summary[column].to_list(), abs=1e-4)
    assert compared["verdict"].to_list() == priced["verdict"].to_list()
    times = dict(run.priced().group_by("policy").agg(pl.col("elapsed_ns").sum()).iter_rows())
    (explanation,) = run.explain("tdp")
    assert explanation.difference_ns == times["tdp"] - times["kvm-3.0"]


def test_the_shown_analysis_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks of the how-to about Python run one after the other, on a real run."""
    shutil.copytree(DATA / "runs" / "v2", tmp_path / "runs" / "smoke")
    text = (ROOT / "docs" / "how-to" / "analyse-in-python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)

    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)

    assert len(blocks) > 5
    assert names["run"].name == "runs/smoke"


def test_two_runs_are_compared(tmp_path: Path, run: results.Run) -> None:
    """A run beside a copy of itself differs by nothing, policy by policy."""
    other = make_run(tmp_path / "other", replicate_batches(3))
    other.storage.put(COSTS_FILE, json.dumps(model_mapping()).encode())

    table = run.compare(results.open(tmp_path / "other"))

    assert "run" in table.cells.columns
    assert set(table.cells["verdict"]) == {"baseline", "no difference"}
    assert comparisons_csv([table]).startswith("metric,unit,policy,run,value,")


def test_a_run_without_prices_says_so(tmp_path: Path) -> None:
    """A run of an older program carries no prices: the message says what to do, and given ones are taken."""
    run = results.open(make_run(tmp_path, replicate_batches(2)).path)

    with pytest.raises(StoreError, match=r"the run carries no prices\. Give a cost model"):
        run.summary()
    assert run.summary(small_model()).height == 4
