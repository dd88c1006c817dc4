"""Writers that are killed or find no room leave whole batches or nothing: real processes, real signals, a real disk.

Every state that they leave is read by our own reader, and by polars, DuckDB, pandas and pyarrow through plain globs.
"""

import multiprocessing
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from results.store import RunStore
from tests.results.crashing import (
    check_readable,
    expected_exits,
    write_run,
    write_until_byte,
    write_until_step,
)
from tests.results.synthetic import bytes_of

ROOT: Final = Path(__file__).parents[2]
BATCHES: Final = 3
KILLS: Final = 300
FULL_DISKS: Final = 60
DEATHS: Final = (-signal.SIGKILL, -signal.SIGXFSZ)
PRELOADED: Final = ["pandas", "pyarrow.acero", "pyarrow.dataset", "tests.results.crashing"]
"""Imported once by the server that all writers are forked from, instead of once by each writer."""
_SERVER: Final = multiprocessing.get_context("forkserver")


def run_writer(target: Callable[..., None], *arguments: Any, seconds: float | None = None) -> int:
    """Run a writer in a process of its own, kill it after some time if given, and return its exit code."""
    process = _SERVER.Process(target=target, args=arguments)
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
    assert process.exitcode is not None
    return process.exitcode


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """Return the run that nobody disturbed."""
    path = tmp_path_factory.mktemp("whole") / "run"
    _SERVER.set_forkserver_preload(PRELOADED)
    assert run_writer(write_run, path, BATCHES) == 0
    return RunStore(path)


def check_finished(path: Path, whole: RunStore) -> None:
    """Check that a run ended as if nothing had happened."""
    store = RunStore(path)
    assert bytes_of(store) == bytes_of(whole)
    assert store.orphans() == []
    assert store.manifest.committed() == whole.manifest.committed()


def deaths(undisturbed: float) -> Iterator[Callable[[Path], int]]:
    """Yield ways to let a writer die: at any time, in the middle of any file, before any change of a name."""
    draw = np.random.default_rng(2011)
    while True:
        seconds = float(draw.uniform(0.0, undisturbed))
        yield lambda path, seconds=seconds: run_writer(write_run, path, BATCHES, seconds=seconds)
        size = int(draw.integers(1, 60_000))
        yield lambda path, size=size: run_writer(write_until_byte, path, BATCHES, size)
        step = int(draw.integers(0, 60))
        yield lambda path, step=step: run_writer(write_until_step, path, BATCHES, step)


def test_hundreds_of_kills_lose_no_finished_batch(tmp_path: Path, whole: RunStore) -> None:
    """After each of 300 deaths all readers see the first batches, whole; the same command goes on to the same bytes."""
    start = time.perf_counter()
    assert run_writer(write_run, tmp_path / "timed", BATCHES) == 0
    undisturbed = time.perf_counter() - start
    expected = expected_exits(BATCHES)

    killed = runs = there = 0
    seen = set()
    for die in deaths(undisturbed):
        path = tmp_path / f"{runs}"
        code = die(path)
        there = check_readable(path, expected, at_least=there)
        seen.add(there)
        killed += code in DEATHS
        assert code in (0, *DEATHS)
        if code == 0 or killed == KILLS:
            assert run_writer(write_run, path, BATCHES) == 0
            check_finished(path, whole)
            shutil.rmtree(path)
            runs, there = runs + 1, 0
        if killed == KILLS:
            break

    assert seen == set(range(BATCHES + 1))
    assert runs > 10


def test_a_crash_before_any_step_is_mended(tmp_path: Path, whole: RunStore) -> None:
    """A writer that dies before a link, rename or unlink, whichever, leaves a run that ends well."""
    expected = expected_exits(BATCHES)

    step, died = 0, True
    while died:
        path = tmp_path / f"{step}"
        died = run_writer(write_until_step, path, BATCHES, step) == -signal.SIGKILL
        check_readable(path, expected)
        assert run_writer(write_run, path, BATCHES) == 0
        check_finished(path, whole)
        shutil.rmtree(path)
        step += 1

    assert step > 30


def test_a_full_disk_loses_no_finished_batch(tmp_path: Path) -> None:
    """Each time that the disk is full all readers see whole batches; with more room the same command goes on."""
    disk, reference = tmp_path / "disk", tmp_path / "reference"
    disk.mkdir()
    unshare = next((words for words in private_mounts() if can_mount(words, disk)), None)
    if unshare is None:
        pytest.skip("this machine lets nobody here mount a small disk (unshare --mount, mount -t tmpfs)")

    command = [*unshare, sys.executable, "-m", "tests.results.disk_full", str(disk), str(reference), str(FULL_DISKS)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) >= FULL_DISKS


def private_mounts() -> list[list[str]]:
    """Return commands that run another one with mounts of its own: as root, or as nobody in particular."""
    return [["unshare", "--mount"], ["unshare", "--mount", "--map-root-user"]]


def can_mount(unshare: list[str], disk: Path) -> bool:
    """Say whether a disk can be mounted that way."""
    command = [*unshare, "mount", "-t", "tmpfs", "-o", "size=4096", "tmpfs", str(disk)]
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False
