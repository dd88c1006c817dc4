"""What happens to a task in a worker process: simulate its batches, write their rows, and never raise.

The worker writes the part itself, under a name that follows from the cells: a second worker with the same task writes
the same bytes under the same name, and nothing counts before the driver commits.
"""

import errno
import functools
import hashlib
import platform
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from engine.simulate import Batch, BatchCounts
from results.store.rows import Cell, Trace, activities_table, cells_table, windows_table
from sweep.plan.cell import TraceFamily, engine_fingerprint, knobs_key
from sweep.plan.plan import PlannedBatch
from sweep.plan.timings import BatchReport
from sweep.spec.spec import guest_label
from sweep.tasks.failures import StderrMark, cause_of, innermost_frames, without_secrets
from sweep.tasks.task import Failure, FailureKind, Outcome, Task, batch_of

if TYPE_CHECKING:
    import pyarrow as pa

    from results.store.run_store import RunStore


def batch_name(cell_ids: Sequence[str]) -> str:
    """Return the name of a batch in the manifest: the same cells give the same name."""
    return "batch-" + hashlib.blake2b("".join(cell_ids).encode(), digest_size=12).hexdigest()


def batch_tables(planned: PlannedBatch, counts: BatchCounts) -> "dict[str, pa.Table]":
    """Return the rows of a batch, by table."""
    cells = batch_cells(planned)
    trace = Trace(
        trace_digest=counts.trace_digest,
        window_ns=planned.window_ns,
        native_seconds=counts.native_seconds,
        events=counts.events,
    )
    return {
        "cells": cells_table(cells, counts.totals, trace),
        "windows": windows_table(cells, counts.windows, trace),
        "activities": activities_table(cells, counts.activities, trace),
    }


def batch_cells(planned: PlannedBatch) -> list[Cell]:
    """Return what the specification says about each cell of a batch."""
    coordinate = planned.coordinate
    return [
        Cell(
            cell_id=cell_id,
            policy=policy.name,
            host_paging="shadow" if policy.knobs.shadow else "nested",
            workload=coordinate.workload.label,
            guest=guest_label(coordinate.guest),
            guest_fields=asdict(coordinate.guest),
            replicate=coordinate.replicate,
            seed=planned.seed,
        )
        for policy, cell_id in zip(planned.policies, planned.cell_ids, strict=True)
    ]


def batch_title(planned: PlannedBatch) -> str:
    """Return how messages call a batch."""
    workload, guest = planned.kind
    return f"{workload}, {guest}, replicate {planned.coordinate.replicate}"


_MESSAGE_CHARACTERS: Final = 2000
"""How much of a message and of a traceback's end travels back: outcomes stay small."""
_TOO_LITTLE_ROOM: Final = frozenset({"MemoryError", "CapacityError"})
"""Errors that fewer lanes may cure; the second is the engine's, whose module would load the core."""
_NO_WAY: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ESTALE, errno.ENOTCONN})
"""What a file system says that is not there, or not for us."""


class MismatchError(RuntimeError):
    """What the worker has is not what the program that sent the batch has: sources of the engine, or a recording."""


def simulate_batch(batch: Batch) -> BatchCounts:
    """Run the engine; its core is loaded here, in the worker."""
    from engine.simulate import run_batch

    return run_batch(batch)


def run_task(task: Task) -> Outcome:
    """Simulate the batches of `task` and stage their rows; whatever goes wrong comes back as a failure."""
    mark = StderrMark()
    try:
        # First: what this machine lacks is known before the work, not after it.
        store = _open(task.run)
        _check_same(task)
    except Exception as error:  # noqa: BLE001  No access to an object store, a library that is not there.
        return _not_done(task, error, FailureKind.UNFIT, mark)
    answers: list[BatchReport | Failure] = []
    rows: list[dict[str, pa.Table]] = []
    cells: list[str] = []
    for batch in task.batches:
        mark = StderrMark()
        started = time.perf_counter()
        try:
            counts = task.simulate(batch_of(batch.planned))
            rows.append(batch_tables(batch.planned, counts))
        except Exception as error:  # noqa: BLE001  A batch may fail in any way; the sweep goes on and reports it.
            answers.append(as_failure(error, stderr=mark.tail()))
            continue
        cells += batch.planned.cell_ids
        answers.append(_report(counts, time.perf_counter() - started))
    if not rows:
        return Outcome(number=task.number, answers=tuple(answers))
    mark = StderrMark()
    try:
        entry = store.write_part(batch_name(cells), _joined(rows))
    except Exception as error:  # noqa: BLE001  A full disk, a folder that was unmounted, an object store that is away.
        return _not_done(task, error, _whose(error), mark)
    return Outcome(number=task.number, answers=tuple(answers), entry=entry)


def as_failure(error: BaseException, *, kind: FailureKind | None = None, stderr: str = "") -> Failure:
    """Return an exception as a value that any process can read."""
    name = type(error).__name__
    if kind is None:
        classes = {one.__name__ for one in type(error).__mro__}
        kind = FailureKind.MEMORY if classes & _TOO_LITTLE_ROOM else FailureKind.RAISED
    message = without_secrets(str(error))
    trace = without_secrets("".join(traceback.format_exception(error)))
    return Failure(
        kind=kind,
        error=name,
        message=message[:_MESSAGE_CHARACTERS],
        cause=cause_of(name, message, innermost_frames(error)),
        traceback=trace[-_MESSAGE_CHARACTERS:],
        host=platform.node(),
        stderr=without_secrets(stderr),
    )


def lost(task: Task, how: str, *, kind: FailureKind, host: str = "", stderr: str = "") -> Outcome:
    """Return the outcome of a task whose process went away."""
    error = {FailureKind.MEMORY: "OutOfMemory", FailureKind.NODE: "NodeLost"}.get(kind, "WorkerDied")
    failure = Failure(
        kind=kind,
        error=error,
        message=without_secrets(how),
        cause=cause_of(error, how),
        host=host or "unknown",
        stderr=without_secrets(stderr),
    )
    return Outcome(number=task.number, failure=failure)


def unseen_rows(run: str) -> Failure:
    """Return the failure of a task whose rows were written where the driver does not look."""
    how = f"its rows are not in {run}: the same path is another folder there"
    return Failure(kind=FailureKind.UNFIT, error="NotShared", message=how, cause=cause_of("NotShared", how))


def _not_done(task: Task, error: Exception, kind: FailureKind, mark: StderrMark) -> Outcome:
    return Outcome(number=task.number, failure=as_failure(error, kind=kind, stderr=mark.tail()))


def _whose(error: Exception) -> FailureKind:
    """Say whether rows could not be written for want of room, or because this machine does not get to the run."""
    from results.store.storage import UnreachableError

    lost = isinstance(error, UnreachableError) or (isinstance(error, OSError) and error.errno in _NO_WAY)
    return FailureKind.UNFIT if lost else FailureKind.STORAGE


def _report(counts: BatchCounts, seconds: float) -> BatchReport:
    return BatchReport(
        windows=counts.windows.shape[0],
        events=counts.events,
        native_seconds=counts.native_seconds,
        seconds=seconds,
        generate_seconds=counts.generate_seconds,
        guest_seconds=counts.guest_seconds,
        engine_seconds=counts.engine_seconds,
    )


def _joined(rows: "list[dict[str, pa.Table]]") -> "dict[str, pa.Table]":
    import pyarrow as pa

    names = dict.fromkeys(name for tables in rows for name in tables)
    return {name: pa.concat_tables([tables[name] for tables in rows if name in tables]) for name in names}


@functools.lru_cache(maxsize=1)
def _open(run: str) -> "RunStore":
    from results.store.run_store import RunStore

    store = RunStore(run)
    store.spec()
    return store


@functools.cache
def _engine_here() -> str:
    # It fails if the core of this machine was built from other sources, whose hash would be that of no answer.
    import engine.core.extension  # noqa: F401

    return engine_fingerprint()


def _check_same(task: Task) -> None:
    """Raise MismatchError unless the engine and the recordings are those that the cells are named after."""
    if task.simulate is simulate_batch and (found := _engine_here()) != task.fingerprint:
        raise MismatchError(
            f"the engine here is {found}, the sweep was planned with {task.fingerprint}. "
            "Install the same sources on every node, or start again if they were edited meanwhile"
        )
    # A recording is hashed once, however many batches of the task play it.
    recordings = {batch.planned.coordinate.workload.parameters.get("path"): batch.planned for batch in task.batches}
    for path, planned in recordings.items():
        if isinstance(path, str) and path and _first_id(planned, task.fingerprint) != planned.cell_ids[0]:
            raise MismatchError(
                f"{path}: the recording here is not the one that the sweep was planned with. Copy the same file to "
                "every node, or start again if it was changed meanwhile"
            )


def _first_id(planned: PlannedBatch, engine: str) -> str:
    """Return what the id of a batch's first cell is by the files of this machine."""
    family = TraceFamily(planned.coordinate.workload, planned.coordinate.guest)
    keys = [knobs_key(planned.policies[0].knobs)]
    return family.digests(keys, seed=planned.seed, window_ns=planned.window_ns, fingerprint=engine).hex()
