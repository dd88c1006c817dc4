"""The shipped smallest sweep, with the real engine and the real program."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from engine.policies import POLICIES
from results.store import RunStore
from sweep.exit_codes import ExitCode

FIRST_COMPILATION_SECONDS = 1800


def sweep(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the program and return how it ended."""
    return subprocess.run(
        [sys.executable, "-m", "sweep.cli", *words], cwd=project, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.timeout(FIRST_COMPILATION_SECONDS)
def test_both_backends_give_the_same_tables(project: Path, tmp_path: Path) -> None:
    """The smoke sweep ends well on both backends with identical tables, and a second start simulates nothing."""
    local, ray = str(tmp_path / "local"), str(tmp_path / "ray")

    first = sweep(project, "run", "configs/smoke.yaml", "--backend", "local", "--out", local)
    again = sweep(project, "run", "configs/smoke.yaml", "--backend", "local", "--out", local)
    cluster = sweep(project, "run", "configs/smoke.yaml", "--backend", "ray", "--out", ray)
    difference = sweep(project, "diff", local, ray)

    assert (first.returncode, cluster.returncode) == (ExitCode.OK, ExitCode.OK), first.stderr + cluster.stderr
    assert again.stderr == f"nothing to do: {4 * len(POLICIES)} cells are already there\n"
    assert again.stdout == first.stdout
    assert difference.returncode == ExitCode.OK, difference.stdout
    cells = RunStore(local).scan_cells().collect()
    assert cells.height == 4 * len(POLICIES)
    assert sorted(cells["policy"].unique()) == sorted(POLICIES)
    traces = cells.group_by("guest", "replicate").agg(pl.col("trace_digest").n_unique(), pl.col("seed").n_unique())
    assert traces["trace_digest"].to_list() == traces["seed"].to_list() == [1] * 4
    assert (cells.filter(policy="tdp")["mmu_pte_write"] == 0).all()
    assert (cells.filter(policy="kvm-3.0")["mmu_pte_write"] > 0).all()
