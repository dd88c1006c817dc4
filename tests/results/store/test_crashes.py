"""Writers that are killed or find no room leave whole batches or nothing: real processes, real signals, a real disk.

Every state that they leave is read by our own reader, and by polars, DuckDB, pandas and pyarrow through plain globs.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.dying import BATCHES
from tests.support.project import ROOT

pytestmark = pytest.mark.slow
KILLS: Final = 100
FULL_DISKS: Final = 40


def dying(*words: object, below: Sequence[str] = ()) -> dict[str, Any]:
    """Return what tests/support/dying.py has found."""
    command = [*below, sys.executable, "-m", "tests.support.dying", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_hundreds_of_kills_lose_no_finished_batch(tmp_path: Path) -> None:
    """After each of 100 deaths all readers see the first batches, whole; the same command goes on to the same bytes."""
    found = dying("kills", tmp_path, KILLS)

    assert found["killed"] == KILLS
    assert found["seen"] == list(range(BATCHES + 1))
    assert found["runs"] > 10


def test_a_crash_before_any_step_is_mended(tmp_path: Path) -> None:
    """A writer that dies before a link, rename or unlink, whichever of them all, leaves a run that ends well."""
    found = dying("steps", tmp_path)

    assert found["code"] == 0
    assert found["steps"] > 30
    assert found["seen"] == list(range(BATCHES + 1))


def test_a_full_disk_loses_no_finished_batch(tmp_path: Path) -> None:
    """Each time that the disk is full all readers see whole batches; with more room the same command goes on."""
    unshare = next((words for words in private_mounts() if can_mount(words, tmp_path)), None)
    if unshare is None:
        pytest.skip("this machine lets nobody here mount a small disk (unshare --mount, mount -t tmpfs)")

    found = dying("disk", tmp_path, FULL_DISKS, below=unshare)

    assert found["full"] >= FULL_DISKS
    assert found["runs"] > 1


def private_mounts() -> list[list[str]]:
    """Return commands that run another one with mounts of its own: as root, or as nobody in particular."""
    return [["unshare", "--mount"], ["unshare", "--mount", "--map-root-user"]]


def can_mount(unshare: Sequence[str], disk: Path) -> bool:
    """Say whether a disk can be mounted that way."""
    command = [*unshare, "mount", "-t", "tmpfs", "-o", "size=4096", "tmpfs", str(disk)]
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False
