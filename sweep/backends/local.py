"""Worker processes of this machine, one batch at a time each, so that a death tells which batch it was."""

import contextlib
import ctypes
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Final

from sweep.backends.contract import Work
from sweep.worker import Outcome, Task, died

_TICK_SECONDS: Final = 0.25
"""How long a wait may keep Ctrl-C from being seen."""
_PR_SET_PDEATHSIG: Final = 1
"""Linux include/uapi/linux/prctl.h."""
_END_SECONDS: Final = 5.0
"""How long a process may take to end after SIGKILL before it is left to the operating system (assumption)."""


@dataclass(slots=True, kw_only=True)
class _Worker:
    process: SpawnProcess
    connection: Connection
    task: Task | None = None


class LocalBackend:
    """Spawned processes behind pipes. A worker that died is replaced when its next task comes."""

    name = "local"

    def __init__(self, work: Work, workers: int | None = None) -> None:
        self.workers = workers or len(os.sched_getaffinity(0))
        # One task more than can run: a worker that ends finds the next one without waiting for the driver.
        self.window = self.workers + 1
        self._work = work
        self._waiting: deque[Task] = deque()
        self._crew: list[_Worker] = []

    def submit(self, task: Task) -> None:
        """Take a task and give it to a free worker; start one if there may be more."""
        self._waiting.append(task)
        self._hand_out()

    def as_completed(self) -> Iterator[Outcome | None]:
        """Yield outcomes as they come, and None from time to time."""
        while busy := {worker.connection: worker for worker in self._crew if worker.task is not None}:
            found = wait(list(busy), timeout=_TICK_SECONDS)
            if not found:
                yield None
            for ready in found:
                assert isinstance(ready, Connection)
                outcome = self._receive(busy[ready])
                self._hand_out()
                yield outcome

    def close(self) -> None:
        """Kill and reap all workers."""
        for worker in self._crew:
            worker.process.kill()
        for worker in self._crew:
            worker.process.join(_END_SECONDS)
            worker.connection.close()
        self._crew.clear()
        self._waiting.clear()

    def _hand_out(self) -> None:
        while self._waiting:
            free = next((worker for worker in self._crew if worker.task is None), None)
            if free is None and len(self._crew) < self.workers:
                free = self._start()
            if free is None:
                return
            task = self._waiting.popleft()
            free.task = task
            # A worker that died while idle closes its end: the loop reads that as the death of this task.
            with contextlib.suppress(OSError):
                free.connection.send(task)

    def _receive(self, worker: _Worker) -> Outcome:
        task = worker.task
        assert task is not None
        try:
            outcome: Outcome = worker.connection.recv()
        except (EOFError, OSError):
            worker.process.join(_END_SECONDS)
            code = worker.process.exitcode
            how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
            worker.connection.close()
            self._crew.remove(worker)
            return died(task, f"the worker process ended with {how}; out of memory, or killed by hand?")
        worker.task = None
        return outcome

    def _start(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self._work), daemon=True)
        # Ctrl-C reaches the whole process group; a worker inherits from its first moment that it is blocked.
        previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, previous)
        theirs.close()
        worker = _Worker(process=process, connection=ours)
        self._crew.append(worker)
        return worker


def _serve(connection: Connection, work: Work) -> None:
    """Carry out tasks until the driver's end of the pipe is closed."""
    _die_with_the_driver()
    with contextlib.suppress(EOFError, OSError):
        while True:
            connection.send(work(connection.recv()))


def _die_with_the_driver() -> None:
    """Ask Linux to end this process with its parent, even in the middle of a batch; elsewhere it ends after it."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
