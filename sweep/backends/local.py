"""Worker processes of this machine, one task at a time each, so that a death tells which task it was."""

import contextlib
import multiprocessing
import os
import platform
import signal
import tempfile
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from results.wording import counted
from sweep.backends.contract import BackendError
from sweep.backends.serving import serve
from sweep.progress import format_bytes
from sweep.tasks.failures import last_lines
from sweep.tasks.task import FailureKind, Outcome, Task
from sweep.tasks.worker import lost

if TYPE_CHECKING:
    from sweep.backends.contract import Work

_TICK_SECONDS: Final = 0.25
"""How long a wait may keep Ctrl-C from being seen."""
_END_SECONDS: Final = 5.0
"""How long a process may take to end after SIGKILL before it is left to the operating system (assumption)."""
_OUTLIVE: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What terminals and batch systems send to whole groups: the driver decides what that means for a task."""


@dataclass(slots=True, kw_only=True)
class _Worker:
    process: SpawnProcess
    connection: Connection
    stderr: BinaryIO
    """What the worker writes to its stderr; the file has no name, so nothing of it can be left."""
    task: Task | None = None
    oom_kills: int = 0
    """Kills by the kernel for want of memory, on this machine, before the task."""


class LocalBackend:
    """Spawned processes behind pipes. A worker that died is replaced when its next task comes."""

    name = "local"

    def __init__(self, work: "Work", workers: int | None = None) -> None:
        self.workers = workers or len(os.sched_getaffinity(0))
        self._asked = workers
        self._work = work
        self._waiting: deque[Task] = deque()
        self._withdrawn: deque[Outcome] = deque()
        self._crew: list[_Worker] = []

    @property
    def window(self) -> int:
        """One task more than can run: a worker that ends finds the next one without waiting for the driver."""
        return self.workers + 1

    def describe(self) -> str:
        """Say how many processes there are, and where."""
        cores = len(os.sched_getaffinity(0))
        processes = counted(self.workers, "process", "processes")
        return f"{processes} on {platform.node()} ({counted(cores, 'core')}), Python {platform.python_version()}"

    def prepare(self, run: str, memory_bytes: int, engine: str | None) -> None:  # noqa: ARG002  Its processes have it.
        """Start no more workers than fit into memory, unless their number was asked for.

        Raises:
            BackendError: not even one fits.
        """
        free = _free_memory()
        if free is None or self._asked is not None:
            return
        if memory_bytes > free:
            raise BackendError(
                f"backend local: a batch may need {format_bytes(memory_bytes)}, {format_bytes(free)} are free here\n"
                f"  free some, take a smaller guest, or try it all the same with -j 1 (run: {run})"
            )
        self.workers = min(self.workers, free // memory_bytes)

    def submit(self, task: Task) -> None:
        """Take a task and give it to a free worker; start one if there may be more."""
        self._waiting.append(task)
        self._hand_out()

    def withdraw(self) -> None:
        """Take back what waits for a worker."""
        self._withdrawn.extend(Outcome(number=task.number, begun=False) for task in self._waiting)
        self._waiting.clear()

    def avoid(self, node: str) -> bool:  # noqa: ARG002  There is but one.
        """Say that there is no other machine than this one."""
        return False

    def as_completed(self) -> Iterator[Outcome | None]:
        """Yield outcomes as they come, and None from time to time."""
        while True:
            yield from self._at_work()
            if not self._withdrawn:
                return
            yield self._withdrawn.popleft()

    def _at_work(self) -> Iterator[Outcome | None]:
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
            worker.stderr.close()
        self._crew.clear()
        self._waiting.clear()

    def _hand_out(self) -> None:
        while self._waiting:
            free = next((worker for worker in self._crew if worker.task is None), None)
            if free is None and len(self._crew) < self.workers:
                free = self._start()
            if free is None:
                return
            free.task = self._waiting.popleft()
            free.oom_kills = _oom_kills()
            free.stderr.truncate(0)
            # A worker that died while idle closes its end: the loop reads that as the death of this task.
            with contextlib.suppress(OSError):
                free.connection.send(free.task)

    def _receive(self, worker: _Worker) -> Outcome:
        task = worker.task
        assert task is not None
        try:
            outcome: Outcome = worker.connection.recv()
        except (EOFError, OSError):
            return self._bury(worker, task)
        worker.task = None
        return outcome

    def _bury(self, worker: _Worker, task: Task) -> Outcome:
        """Return the outcome of a task whose worker is dead."""
        worker.process.join(_END_SECONDS)
        code = worker.process.exitcode
        how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
        kind, why = FailureKind.DIED, "killed by hand, or a fault in compiled code?"
        if code == -signal.SIGKILL and _oom_kills() > worker.oom_kills:
            kind, why = FailureKind.MEMORY, "the kernel killed it for want of memory"
        stderr = last_lines(worker.stderr)
        worker.connection.close()
        worker.stderr.close()
        self._crew.remove(worker)
        text = f"the worker process ended with {how}; {why}"
        return lost(task, text, kind=kind, host=platform.node(), stderr=stderr)

    def _start(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        stderr = tempfile.TemporaryFile()  # noqa: SIM115  It lives as long as the worker.
        # A connection is what the standard library can hand to a spawned process; this one only carries the descriptor.
        carrier = Connection(os.dup(stderr.fileno()), readable=False)
        process = context.Process(target=serve, args=(theirs, carrier), daemon=True)
        # Started by `process.start`, as it would be, it ends with unblocking Ctrl-C and SIGTERM in this thread.
        resource_tracker.ensure_running()
        # A worker inherits from its first moment that these are blocked.
        previous = signal.pthread_sigmask(signal.SIG_BLOCK, _OUTLIVE)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, previous)
        theirs.close()
        carrier.close()
        worker = _Worker(process=process, connection=ours, stderr=stderr)
        self._crew.append(worker)
        # One that is dead already is found when its task does not come back.
        with contextlib.suppress(OSError):
            ours.send(self._work)
        return worker


def _oom_kills() -> int:
    """Return how many processes Linux has killed for want of memory since it started; 0 where it does not say."""
    return _number_of("/proc/vmstat", "oom_kill") or 0


def _free_memory() -> int | None:
    """Return the bytes that new processes can have, None where the system does not say."""
    kibibytes = _number_of("/proc/meminfo", "MemAvailable:")
    return None if kibibytes is None else kibibytes << 10


def _number_of(file: str, name: str) -> int | None:
    """Return the number behind a name in a file of the kernel."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path(file).read_text(encoding="ascii").splitlines():
            found, number = line.split()[:2]
            if found == name:
                return int(number)
    return None
