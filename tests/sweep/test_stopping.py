"""When a sweep is asked to stop: what is said of it holds from then on."""

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sweep import execute as execute_module
from sweep.exit_codes import ExitCode
from sweep.outcome import Task
from tests.sweep.starting import start, write_spec
from tests.sweep.test_unfit import Machines


@dataclass(slots=True, kw_only=True)
class Interrupted(Machines):
    """Machines whose driver gets Ctrl-C while it hands out a task, when it has looked whether to stop already."""

    capture: pytest.CaptureFixture[str]
    said: list[str] = field(default_factory=list)
    """What was said until tasks were taken back."""
    _submitted: int = 0

    def submit(self, task: Task) -> None:
        """Take a task; the first one that follows an outcome brings Ctrl-C."""
        Machines.submit(self, task)
        self._submitted += 1
        if self._submitted == self.window + 1:
            os.kill(os.getpid(), signal.SIGINT)

    def withdraw(self) -> None:
        """Note what has been said."""
        self.said.append(self.capture.readouterr().err)


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
