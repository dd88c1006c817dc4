"""The shipped smallest sweep, with the real engine."""

from pathlib import Path

import polars as pl
import pytest

from results.store.run_store import RunStore
from sweep.exit_codes import ExitCode
from tests.support.calling import call
from tests.support.policies import POLICIES

FIRST_COMPILATION_SECONDS = 1800


@pytest.mark.slow
@pytest.mark.timeout(FIRST_COMPILATION_SECONDS)
def test_both_backends_give_the_same_tables(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The smoke sweep ends well on both backends with identical tables, and a second start simulates nothing."""
    local, ray = str(tmp_path / "local"), str(tmp_path / "ray")

    def sweep(*words: str) -> tuple[int, str, str]:
        code = call(monkeypatch, *words)
        return code, *capsys.readouterr()

    monkeypatch.chdir(project)
    first = sweep("run", "configs/smoke.yaml", "--backend", "local", "--out", local)
    again = sweep("run", "configs/smoke.yaml", "--backend", "local", "--out", local)
    cluster = sweep("run", "configs/smoke.yaml", "--backend", "ray", "--out", ray)
    difference = sweep("diff", local, ray)

    assert (first[0], cluster[0]) == (ExitCode.OK, ExitCode.OK), first[2] + cluster[2]
    assert again[1:] == (first[1], f"nothing to do: {4 * len(POLICIES)} cells are already there\n")
    assert difference[0] == ExitCode.OK, difference[1]
    cells = RunStore(local).scan("cells").collect()
    assert cells.height == 4 * len(POLICIES)
    assert sorted(cells["policy"].unique()) == sorted(POLICIES)
    traces = cells.group_by("guest", "replicate").agg(pl.col("trace_digest").n_unique(), pl.col("seed").n_unique())
    assert traces["trace_digest"].to_list() == traces["seed"].to_list() == [1] * 4
    assert (cells.filter(policy="tdp")["mmu_pte_write"] == 0).all()
    assert (cells.filter(policy="kvm-3.0")["mmu_pte_write"] > 0).all()
