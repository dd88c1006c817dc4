"""Backends of machines that are in this process, so that a test says what is wrong with one."""

import os
import shutil
import signal
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from sweep.tasks.task import Outcome, Task
from sweep.tasks.worker import run_task


@dataclass(slots=True, kw_only=True)
class Machines:
    """A backend of two machines in this process: `good` sees the run, `bad` has another folder under its name."""

    bad_folder: Path
    copies: bool = False
    """Whether the other folder holds a run as well, as an earlier copy would."""
    recording: Path | None = None
    """A file in place of which the bad machine has another one; if there is one, both see the run."""
    good: bool = True
    name: str = "machines"
    workers: int = 2
    window: int = 4
    done_by_bad: int = 0
    _avoided: set[str] = field(default_factory=set)
    _waiting: deque[Task] = field(default_factory=deque)

    def describe(self) -> str:
        """Say what it is."""
        return "two machines"

    def prepare(self, run: str, memory_bytes: int, engine: str | None) -> None:
        """Copy the run to the bad machine, if it is to have one."""
        assert (memory_bytes > 0, engine) == (True, None)
        if self.copies:
            shutil.copytree(run, self.bad_folder)

    def submit(self, task: Task) -> None:
        """Take a task."""
        self._waiting.append(task)

    def withdraw(self) -> None:
        """Take back nothing."""

    def avoid(self, node: str) -> bool:
        """Give no more tasks to a machine."""
        self._avoided.add(node)
        return self.good

    def as_completed(self) -> Iterator[Outcome | None]:
        """Carry out the tasks, on the bad machine as long as that is allowed."""
        while self._waiting:
            task = self._waiting.popleft()
            node = "good" if "bad" in self._avoided else "bad"
            self.done_by_bad += node == "bad"
            yield replace(run_task(task) if node == "good" else self._on_the_bad_one(task), node=node)

    def close(self) -> None:
        """Do nothing."""

    def _on_the_bad_one(self, task: Task) -> Outcome:
        if self.recording is None:
            return run_task(replace(task, run=str(self.bad_folder)))
        content = self.recording.read_bytes()
        self.recording.write_bytes(content[:-1] + b"\1")
        outcome = run_task(task)
        self.recording.write_bytes(content)
        return outcome


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
