"""What travels between the driver and a worker: a task of a few batches there, a manifest entry and figures back."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

from engine.simulate import Batch, BatchCounts
from results.store.manifest import ManifestEntry
from sweep.plan.plan import PlannedBatch
from sweep.plan.timings import BatchReport

Simulate = Callable[[Batch], BatchCounts]
"""Must be a function of a module, so that every process finds it."""


class FailureKind(StrEnum):
    """Whose doing a failure is, which decides whether another attempt makes sense."""

    RAISED = "raised"
    """The batch raised: it would raise again."""
    DIED = "died"
    """The process went away."""
    MEMORY = "memory"
    """There was too little memory, or too little room in the engine's tables."""
    NODE = "node"
    """The machine went away."""
    STORAGE = "storage"
    """The rows could not be written."""
    UNFIT = "unfit"
    """The machine does not see the run, or has other sources or recordings: another one may do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a batch has no answer."""

    kind: FailureKind
    error: str
    message: str
    cause: str
    """Equal for failures of one cause: see `sweep.tasks.failures.cause_of`."""
    traceback: str = ""
    host: str = ""
    stderr: str = ""
    """Last lines that the worker wrote to its stderr while it had the task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedBatch:
    """One batch that a worker is to simulate, and how often that went wrong before."""

    planned: PlannedBatch
    share: float
    """Part of the whole work that this batch is thought to be."""
    attempt: int = 1
    moves: int = 0
    """How often its machine went away, which is not the batch's doing."""

    def again(self) -> Self:
        """Return it for another attempt."""
        return replace(self, attempt=self.attempt + 1)

    def moved(self) -> Self:
        """Return it for another machine."""
        return replace(self, moves=self.moves + 1)

    def halves(self) -> tuple[Self, Self]:
        """Return two with half of the policies each; lanes do not depend on each other, so answers stay."""
        first, second = halves(self.planned)
        share, attempt = self.share / 2, self.attempt + 1
        return (
            replace(self, planned=first, share=share, attempt=attempt),
            replace(self, planned=second, share=share, attempt=attempt),
        )


def halves(planned: PlannedBatch) -> tuple[PlannedBatch, PlannedBatch]:
    """Return a batch of at least two policies as two."""
    middle = len(planned.policies) // 2
    return planned.only(range(middle)), planned.only(range(middle, len(planned.policies)))


def batch_of(planned: PlannedBatch) -> Batch:
    """Return a batch as the engine takes it."""
    return Batch(
        workload=planned.coordinate.workload.name,
        parameters=dict(planned.coordinate.workload.parameters),
        guest=planned.coordinate.guest,
        policies=planned.policies,
        seed=planned.seed,
        window_ns=planned.window_ns,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Some batches on their way to one worker, and where it puts their rows."""

    number: int
    """Tells the tasks of one start apart."""
    batches: tuple[WantedBatch, ...]
    run: str
    """Location of the run, the same for all nodes."""
    simulate: Simulate
    fingerprint: str
    memory_bytes: int
    """Memory that a worker needs for the largest of the batches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came back for a task: a staged part and a report or a failure for each batch, or one failure for all."""

    number: int
    answers: tuple[BatchReport | Failure, ...] = ()
    entry: ManifestEntry | None = None
    """The part that holds the rows of all batches with a report; None if there is none."""
    failure: Failure | None = None
    node: str = ""
    """The machine, by the backend's name for it; empty where there is but one."""
    begun: bool = True
    """False for a task that was taken back before anybody began it."""
