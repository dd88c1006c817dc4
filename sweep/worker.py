"""What happens to one batch in a worker process: simulate, and turn every error into a value that can travel."""

import functools
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from engine.simulate import Batch, BatchCounts
from sweep.cell import engine_fingerprint
from sweep.plan import PlannedBatch

Simulate = Callable[[Batch], BatchCounts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One batch on its way to a worker. `simulate` must be a function of a module, so that every process finds it."""

    index: int
    """Position in the list of batches of this start."""
    planned: PlannedBatch
    simulate: Simulate
    fingerprint: str
    attempt: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a batch has no counts. `died`: the process went away, which a second attempt may cure."""

    error: str
    message: str
    traceback: str = ""
    died: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came back for a task: counts or a failure, and the seconds that it took there."""

    task: Task
    counts: BatchCounts | None = None
    failure: Failure | None = None
    seconds: float = 0.0


class EngineMismatchError(RuntimeError):
    """The sources of the engine in the worker are not those of the program that sent the batch."""


def simulate_batch(batch: Batch) -> BatchCounts:
    """Run the engine; numba is imported here, in the worker."""
    # Processes fill the cores; threads inside a kernel would only fight over them.
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")
    from engine.simulate import run_batch

    return run_batch(batch)


def run_task(task: Task) -> Outcome:
    """Simulate the batch of `task`; whatever goes wrong in it comes back as a failure."""
    started = time.perf_counter()
    planned = task.planned
    batch = Batch(
        workload=planned.coordinate.workload.name,
        parameters=dict(planned.coordinate.workload.parameters),
        guest=planned.coordinate.guest,
        policies=planned.policies,
        seed=planned.seed,
        window_ns=planned.window_ns,
    )
    try:
        if task.simulate is simulate_batch:
            _check_engine(task.fingerprint)
        counts = task.simulate(batch)
    except Exception as error:  # noqa: BLE001  A batch may fail in any way; the sweep goes on and reports it.
        failure = Failure(error=type(error).__name__, message=str(error), traceback=traceback.format_exc())
        return Outcome(task=task, failure=failure, seconds=time.perf_counter() - started)
    return Outcome(task=task, counts=counts, seconds=time.perf_counter() - started)


def died(task: Task, how: str) -> Outcome:
    """Return the outcome of a task whose process went away."""
    return Outcome(task=task, failure=Failure(error="WorkerDied", message=how, died=True))


@functools.cache
def _engine_here() -> str:
    return engine_fingerprint()


def _check_engine(expected: str) -> None:
    found = _engine_here()
    if found != expected:
        raise EngineMismatchError(
            f"the engine here is {found}, the sweep was planned with {expected}. "
            "Install the same sources on every node, or start again if they were edited meanwhile"
        )
