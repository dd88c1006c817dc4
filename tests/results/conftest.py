"""A small real run and its report."""

from pathlib import Path
from typing import Final

import pytest

from results.ranked_run import RankedRun
from sweep.commands.common import open_view
from sweep.runs import open_store
from tests.support.calling import sweep

OVERRIDES: Final = (
    "name=small",
    "workloads.0.compile_units=1",
    "policies=[kvm-3.0, {base: kvm-3.3, flood_threshold: [1, 3, 8]}, always-emulate, tdp]",
    "guests.memory_mib=[512, 1024]",
)


@pytest.fixture(scope="session")
def run(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of six policies on four guests with two replicates."""
    out = tmp_path_factory.mktemp("report") / "small"
    settings = [word for override in OVERRIDES for word in ("-s", override)]
    sweep(project, "run", "configs/smoke.yaml", *settings, "--out", str(out))
    return out


@pytest.fixture(scope="session")
def ranked(run: Path) -> RankedRun:
    """Return that run as charts read it."""
    return open_view(open_store(run), costs=None, baseline=None)


@pytest.fixture(scope="session")
def report(project: Path, run: Path) -> Path:
    """Return the report of that run."""
    out = run.with_name("small.html")
    sweep(project, "report", str(run), "-o", str(out))
    return out
