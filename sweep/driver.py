"""Drives one start of a sweep: hands out what is left, commits what comes back, and leaves a run that can go on."""

import fcntl
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Final

from engine.policies.contract import Policy
from results.rows import Cell, Trace, cells_table, failures_table, windows_table
from results.store import RunStore
from sweep.backends.contract import Backend
from sweep.exit_codes import SweepError
from sweep.interrupts import StopRequest
from sweep.plan import PlannedBatch
from sweep.progress import Progress
from sweep.spec import guest_label
from sweep.timings import BatchTiming, append_timing
from sweep.worker import Failure, Outcome, Simulate, Task

ATTEMPTS: Final = 2
"""A batch whose process died is tried once more: the first death may have been somebody else's doing."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What one start of a sweep did."""

    cells_done: int = 0
    cells_failed: int = 0
    batches_done: int = 0
    wall_seconds: float = 0.0
    batch_seconds: float = 0.0
    generate_seconds: float = 0.0
    guest_seconds: float = 0.0
    engine_seconds: float = 0.0
    failures: list[str] = field(default_factory=list)
    interrupted: bool = False


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the run's folder for this process alone.

    Raises:
        SweepError: another process holds it.
    """
    run.mkdir(parents=True, exist_ok=True)
    with (run / ".lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SweepError(f"{run}: another `sweep run` is writing here; wait for it, or give --out") from error
        yield


def run_batches(
    batches: Sequence[PlannedBatch],
    *,
    store: RunStore,
    backend: Backend,
    simulate: Simulate,
    fingerprint: str,
    progress: Progress,
    shares: Sequence[float],
) -> Tally:
    """Run `batches` and commit each as it comes back; Ctrl-C ends it between two of them and marks the tally.

    `shares[i]` is the part of the whole work that batch i is thought to be.
    """
    tally = Tally()
    tasks = (
        Task(index=index, planned=planned, simulate=simulate, fingerprint=fingerprint)
        for index, planned in enumerate(batches)
    )
    with StopRequest() as stop:
        for task in islice(tasks, backend.window):
            backend.submit(task)
        for outcome in backend.as_completed():
            if outcome is None:
                progress.advance(0, 0.0)
                if stop.requested:
                    # Nothing more is waiting to be kept; what still runs is given up.
                    tally.interrupted = True
                    break
            elif _deserves_another(outcome):
                progress.note(f"{_place(outcome.task.planned)}: {outcome.task.attempt}. attempt: {_reason(outcome)}")
                if not stop.requested:
                    backend.submit(replace(outcome.task, attempt=outcome.task.attempt + 1))
            else:
                for task in islice(tasks, 0 if stop.requested else 1):
                    backend.submit(task)
                _keep(outcome, store=store, tally=tally, progress=progress)
                progress.advance(len(outcome.task.planned.policies), shares[outcome.task.index])
        tally.interrupted |= stop.requested
    return tally


def _deserves_another(outcome: Outcome) -> bool:
    return outcome.failure is not None and outcome.failure.died and outcome.task.attempt < ATTEMPTS


def _reason(outcome: Outcome) -> str:
    return outcome.failure.message if outcome.failure is not None else ""


def batch_id(planned: PlannedBatch) -> str:
    """Return the name of a batch in the manifest: the same cells give the same name."""
    return "batch-" + hashlib.blake2b("".join(planned.cell_ids).encode(), digest_size=12).hexdigest()


def _keep(outcome: Outcome, *, store: RunStore, tally: Tally, progress: Progress) -> None:
    planned = outcome.task.planned
    name = batch_id(planned)
    lanes = zip(planned.policies, planned.cell_ids, strict=True)
    cells = [_cell(planned, policy, cell_id) for policy, cell_id in lanes]
    tally.batch_seconds += outcome.seconds
    counts = outcome.counts
    if counts is None:
        failure = outcome.failure or Failure(error="NoAnswer", message="the worker gave neither counts nor an error")
        store.record_failures(name, failures_table(cells, _as_exception(failure), failure.traceback))
        tally.cells_failed += len(cells)
        line = f"{_place(planned)}: {failure.error}: {failure.message}"
        tally.failures.append(line)
        progress.note(f"failed: {line}")
        return
    trace = Trace(
        trace_digest=counts.trace_digest,
        window_ns=planned.window_ns,
        native_seconds=counts.native_seconds,
        events=counts.events,
    )
    entry = store.write_part(
        name,
        {
            "cells": cells_table(cells, counts.totals, trace),
            "windows": windows_table(cells, counts.windows, trace),
        },
    )
    store.commit(entry)
    tally.cells_done += len(cells)
    tally.batches_done += 1
    tally.generate_seconds += counts.generate_seconds
    tally.guest_seconds += counts.guest_seconds
    tally.engine_seconds += counts.engine_seconds
    timing = BatchTiming(
        batch=name,
        workload=planned.coordinate.workload.name,
        parameters=planned.coordinate.workload.parameters,
        guest=asdict(planned.coordinate.guest),
        replicate=planned.coordinate.replicate,
        lanes=len(cells),
        window_ns=planned.window_ns,
        windows=counts.windows.shape[0],
        events=counts.events,
        native_seconds=counts.native_seconds,
        seconds=outcome.seconds,
        generate_seconds=counts.generate_seconds,
        guest_seconds=counts.guest_seconds,
        engine_seconds=counts.engine_seconds,
        part_bytes=sum(part.bytes for part in entry.parts),
    )
    append_timing(store.path, timing)


def _cell(planned: PlannedBatch, policy: Policy, cell_id: str) -> Cell:
    coordinate = planned.coordinate
    return Cell(
        cell_id=cell_id,
        policy=policy.name,
        paging="shadow" if policy.knobs.shadow else "nested",
        workload=coordinate.workload.label,
        guest=guest_label(coordinate.guest),
        replicate=coordinate.replicate,
        seed=planned.seed,
        **asdict(coordinate.guest),
    )


def _place(planned: PlannedBatch) -> str:
    coordinate = planned.coordinate
    return f"{coordinate.workload.label}, {guest_label(coordinate.guest)}, replicate {coordinate.replicate}"


def _as_exception(failure: Failure) -> Exception:
    """Return an exception of the failure's name: the original one can't always travel between processes."""
    kind: type[Exception] = type(failure.error, (Exception,), {})
    return kind(failure.message)
