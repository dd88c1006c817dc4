"""When a sweep is asked to stop: what is said of it holds from then on."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from results.store.run_store import RunStore
from sweep.exit_codes import ExitCode
from sweep.start import execute as execute_module
from tests.support.machines import Interrupted
from tests.support.project import ROOT
from tests.support.starting import start, write_spec


def test_nothing_is_promised_before_tasks_are_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who reads that only what runs is finished can count on it, whenever Ctrl-C came."""
    machines = Interrupted(bad_folder=tmp_path / "run", window=1, capture=capsys)
    monkeypatch.setattr(execute_module, "open_backend", lambda *_: machines)

    code = start(write_spec(tmp_path))

    assert code is ExitCode.INTERRUPTED
    assert ["Ctrl-C" in said for said in machines.said] == [False]
    assert "Ctrl-C: what runs is finished" in capsys.readouterr().err


CODE: Final = (
    # What runs in the background of a script has Ctrl-C ignored.
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "import sys; from pathlib import Path; from tests.support import fakes; from tests.support.starting import start;"
    "sys.exit(start(Path(sys.argv[1]), simulate=fakes.wait_for_the_marker, workers=int(sys.argv[2])))"
)
LANES: Final = 4
BATCHES: Final = 4
END_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A sweep whose processes are a group of their own, as those of a terminal are."""

    driver: subprocess.Popen[bytes]
    folder: Path

    def others(self) -> list[int]:
        """Return the processes of the group that live, the driver aside."""
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                state, _, group = path.read_text().rpartition(")")[2].split()[:3]
                if int(group) == self.driver.pid and state != "Z":
                    found.append(int(path.parent.name))
        return [pid for pid in found if pid != self.driver.pid]

    def workers(self) -> list[int]:
        """Return the processes that carry out tasks, or are about to."""
        found = []
        for pid in self.others():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return found

    def said(self) -> str:
        """Return what the sweep has said."""
        return (self.folder / "err").read_text()

    def waiting(self) -> int:
        """Return how many batches run and wait for the test."""
        return len(list(self.folder.glob("marker.*.waits")))

    def let_go(self) -> None:
        """Let the batches that wait end."""
        (self.folder / "marker.go").touch()


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Callable[[int], Session]]:
    """Return what starts a sweep with so many workers, in a group of its own; nothing of it outlives the test."""
    begun: list[Session] = []

    def begin(workers: int) -> Session:
        words = [sys.executable, "-c", CODE, str(write_spec(tmp_path)), str(workers)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with (tmp_path / "err").open("wb") as err:
            driver = subprocess.Popen(words, cwd=ROOT, env=environment, stderr=err, start_new_session=True)
        begun.append(Session(driver=driver, folder=tmp_path))
        return begun[-1]

    yield begin
    for one in begun:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(one.driver.pid, signal.SIGKILL)
        one.driver.wait(60)


def wait_until(happened: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for something to happen, and fail if it does not in time."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it has not happened"
        time.sleep(0.01)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_loses_no_batch_that_runs(
    session: Callable[[int], Session], number: signal.Signals, workers: int
) -> None:
    """What a terminal or a batch system sends to the whole group leaves workers alone: what runs is kept."""
    sweep = session(workers)
    wait_until(lambda: sweep.waiting() == workers)

    os.killpg(sweep.driver.pid, number)
    wait_until(lambda: "(at most " in sweep.said())
    sweep.let_go()
    code = sweep.driver.wait(60)

    # The first two batches were through before; of two workers nothing is left to do.
    batches = 2 + workers
    assert "WorkerDied" not in sweep.said()
    assert len(RunStore(sweep.folder / "run").finished_cells()) == batches * LANES
    assert code == (ExitCode.INTERRUPTED if batches < BATCHES else ExitCode.OK)
    wait_until(lambda: not sweep.others(), END_SECONDS)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_workers_start_loses_nothing_that_was_handed_out(
    session: Callable[[int], Session], number: signal.Signals, workers: int
) -> None:
    """A worker that the signal finds before it can have heard of signals still carries out its first task."""
    sweep = session(workers)
    sweep.let_go()
    wait_until(lambda: len(sweep.workers()) == workers)

    os.killpg(sweep.driver.pid, number)
    code = sweep.driver.wait(60)

    finished = len(RunStore(sweep.folder / "run").finished_cells())
    assert code == ExitCode.INTERRUPTED
    assert "WorkerDied" not in sweep.said()
    assert workers * LANES <= finished < BATCHES * LANES
    assert f"interrupted: {finished} new cells kept" in sweep.said()
    wait_until(lambda: not sweep.others(), END_SECONDS)


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.2, 0.5])
def test_a_worker_does_not_outlive_a_driver_that_was_killed(session: Callable[[int], Session], seconds: float) -> None:
    """Whether its driver is killed while a worker starts or after, the worker begins and ends no batch for nobody."""
    sweep = session(1)
    wait_until(sweep.workers)
    time.sleep(seconds)

    sweep.driver.kill()
    sweep.driver.wait(60)

    wait_until(lambda: not sweep.others(), END_SECONDS)
