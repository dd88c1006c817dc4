"""Drives one start of a sweep: hands out what is left, keeps what comes back, and tries again what may go well."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from results.store.storage import NotStagedError
from results.wording import counted
from sweep.backends.contract import Backend, ClusterLostError
from sweep.exit_codes import ExitCode, SweepError
from sweep.plan.timings import BatchReport
from sweep.progress import Progress
from sweep.start.grouping import Grouper
from sweep.start.interrupts import GRACE_SECONDS, StopRequest
from sweep.start.keeper import Keeper, Tally
from sweep.tasks.memory import batch_bytes
from sweep.tasks.task import Failure, FailureKind, Outcome, Simulate, Task, WantedBatch
from sweep.tasks.worker import MismatchError, unseen_rows

ATTEMPTS_MAX: Final = MappingProxyType({FailureKind.DIED: 3, FailureKind.MEMORY: 2})
"""How often a batch is tried. A process may die by somebody else's doing; a batch that raises would raise again."""
MOVES_MAX: Final = 8
"""Machines that may go away under a batch before it is thought to be the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """When a start of a sweep ends before its end."""

    fail_fast: int | None = None
    """Failures of one cause after which nothing new is started."""
    grace_seconds: float = GRACE_SECONDS
    """How long SIGTERM lets running tasks go on."""


class StorageError(SweepError):
    """Rows can't be written; nothing that was committed is lost."""

    exit_code = ExitCode.STORAGE


class Driver:
    """One start of a sweep. Memory holds the tasks that are out, not those that have come back."""

    def __init__(
        self,
        batches: Iterable[tuple[WantedBatch, float | None]],
        *,
        count: int,
        keeper: Keeper,
        backend: Backend,
        simulate: Simulate,
        fingerprint: str,
        run: str,
        rules: Rules,
    ) -> None:
        """`batches` are the `count` batches to do, each with its estimated seconds, in the order of their start."""
        self._grouper = Grouper(batches, workers=backend.workers)
        self._left = count
        self._keeper = keeper
        self._backend = backend
        self._pattern = Task(number=0, batches=(), run=run, simulate=simulate, fingerprint=fingerprint, memory_bytes=0)
        self._rules = rules
        self._again: deque[WantedBatch] = deque()
        self._out: dict[int, Task] = {}
        self._error: SweepError | None = None
        self._avoided: set[str] = set()

    def drive(self, progress: Progress) -> Tally:
        """Run everything, and keep each task as it comes back; Ctrl-C and SIGTERM end it between two of them.

        Raises:
            StorageError: rows can't be written.
            ClusterLostError: the backend can't go on, or no machine can take part.
        """
        tally = self._keeper.tally
        said, withdrawn = "", False
        with StopRequest(self._rules.grace_seconds) as stop:
            self._fill()
            for outcome in self._backend.as_completed():
                if outcome is None:
                    progress.advance(0, 0.0)
                else:
                    self._take(outcome)
                if stop.at_once:
                    break
                ending = stop.draining or bool(tally.stopped or self._error)
                if not ending:
                    self._fill()
                    continue
                if not withdrawn:
                    withdrawn = True
                    self._backend.withdraw()
                # Not before what waits is taken back: who reads this counts on it.
                if stop.reason != said:
                    said = stop.reason
                    progress.note(f"{said} ({self._running()})")
            tally.batches_left = self._left + len(self._again) + sum(len(task.batches) for task in self._out.values())
            tally.interrupted = stop.draining and tally.batches_left > 0
            tally.stop_asked = stop.draining
        if self._error is not None:
            raise self._error
        return tally

    def _running(self) -> str:
        """Say how many batches have begun, at most: a cluster does not tell which of its tasks have."""
        sizes = sorted((len(task.batches) for task in self._out.values()), reverse=True)
        return f"at most {counted(sum(sizes[: self._backend.workers]), 'batch', 'batches')}"

    def _fill(self) -> None:
        """Hand out tasks until the window is full: first what is tried again, each batch alone."""
        while len(self._out) < self._backend.window:
            if self._again:
                batches: tuple[WantedBatch, ...] = (self._again.popleft(),)
            else:
                batches = self._grouper.next(left=self._left)
                self._left -= len(batches)
            if not batches:
                return
            number = self._pattern.number + 1
            memory = max(batch_bytes(batch.planned, self._pattern.simulate) for batch in batches)
            self._pattern = replace(self._pattern, number=number)
            task = replace(self._pattern, batches=batches, memory_bytes=memory)
            self._out[number] = task
            self._backend.submit(task)

    def _take(self, outcome: Outcome) -> None:
        task = self._out.pop(outcome.number)
        failure = outcome.failure
        if not outcome.begun:
            self._again.extend(task.batches)
            return
        if failure is not None and failure.kind is FailureKind.STORAGE:
            self._error = StorageError(failure.message)
            return
        if failure is not None and failure.kind is FailureKind.UNFIT:
            self._move(task, outcome.node, failure)
            return
        if failure is not None and len(task.batches) > 1:
            # Which of them it was is not known: each goes on alone, and none is blamed.
            self._keeper.note(
                task.batches[0], failure, f"the {len(task.batches)} batches of this task are tried one by one"
            )
            self._again.extend(task.batches)
            return
        answers = outcome.answers if failure is None else (failure,)
        done = [
            (batch, answer)
            for batch, answer in zip(task.batches, answers, strict=True)
            if isinstance(answer, BatchReport)
        ]
        if done:
            assert outcome.entry is not None
            try:
                self._keeper.keep(outcome.entry, done)
            except NotStagedError:
                self._move(task, outcome.node, unseen_rows(task.run))
                return
            self._grouper.learn([batch for batch, _ in done], [report.seconds for _, report in done])
        for batch, answer in zip(task.batches, answers, strict=True):
            if isinstance(answer, Failure):
                self._answer(batch, answer)

    def _move(self, task: Task, node: str, failure: Failure) -> None:
        """Let another machine do what this one can't; end if there is none."""
        self._again.extend(task.batches)
        # A place that this process does not reach either is nobody's fault: that ends the sweep.
        self._keeper.check_reach()
        machine = failure.host or "that machine"
        if not self._backend.avoid(node):
            error = ClusterLostError if failure.error == MismatchError.__name__ else StorageError
            self._error = error(f"no machine is left for this sweep; the last one, {machine}: {failure.message}")
        elif node not in self._avoided:
            self._keeper.note(task.batches[0], failure, f"{machine} gets no more work")
        self._avoided.add(node)

    def _answer(self, batch: WantedBatch, failure: Failure) -> None:
        """Try a failed batch again where that may help, or write down why not."""
        if failure.kind is FailureKind.MEMORY and len(batch.planned.policies) > 1:
            self._keeper.note(batch, failure, "tried again as two batches with half of the policies each")
            self._again.extend(batch.halves())
        elif batch.attempt < ATTEMPTS_MAX.get(failure.kind, 1):
            self._try_again(batch.again(), failure)
        elif failure.kind is FailureKind.NODE and batch.moves < MOVES_MAX:
            self._try_again(batch.moved(), failure)
        else:
            self._keeper.fail(batch, failure)
            tally, limit = self._keeper.tally, self._rules.fail_fast
            if limit is not None and tally.causes[failure.cause] >= limit:
                tally.stopped = f"{counted(limit, 'batch has', 'batches have')} failed with cause {failure.cause}"

    def _try_again(self, batch: WantedBatch, failure: Failure) -> None:
        self._keeper.note(batch, failure, f"tried again ({batch.attempt + batch.moves}. attempt)")
        self._again.append(batch)
