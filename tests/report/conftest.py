"""A small real run, its report, and a browser to open it in."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, sync_playwright

from results.view import View
from sweep.commands.common import open_view
from sweep.runs import open_store

CHROMIUM: Final = ("chromium", "chromium-browser", "google-chrome")
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
def view(run: Path) -> View:
    """Return that run as charts read it."""
    return open_view(open_store(run), costs=None, baseline=None)


@pytest.fixture(scope="session")
def report(project: Path, run: Path) -> Path:
    """Return the report of that run."""
    out = run.with_name("small.html")
    sweep(project, "report", str(run), "-o", str(out))
    return out


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return the system's Chromium without a window."""
    path = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    if path is None:
        message = f"none of {', '.join(CHROMIUM)} is installed; on Debian: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        # Chromium's own sandbox needs rights that containers lack; the page is ours.
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


def sweep(project: Path, *words: str, **environment: str) -> str:
    """Run the program from the root of the project, expect success, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "sweep.cli", *words],
        cwd=project,
        env={**os.environ, "COLUMNS": "100", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
