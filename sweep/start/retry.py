"""Going back to what failed: its cells once more, or one batch in this process, where a debugger reaches it."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from results.wording import counted
from sweep.backends.choose import BackendChoice
from sweep.exit_codes import SweepError
from sweep.plan.plan import Plan, PlannedBatch, plan_sweep, remaining
from sweep.progress import format_seconds
from sweep.runs import check_engine, open_store, results_errors
from sweep.spec.spec import SweepSpec, spec_from_resolved
from sweep.start.driver import Rules
from sweep.start.execute import Execution
from sweep.tasks.task import Simulate, batch_of, halves
from sweep.tasks.worker import batch_name, batch_title

if TYPE_CHECKING:
    from results.store.cell_ids import CellIds


def retry_execution(
    run: str,
    cause: str | None,
    *,
    place: BackendChoice,
    rules: Rules,
    simulate: Simulate,
    fingerprint: str,
    command: str,
) -> Execution:
    """Return a start of the run's sweep that is restricted to what has failed, by one cause if given.

    Raises:
        SweepError: there is no such run or cause, or the run is of another engine.
    """
    store = open_store(run)
    check_engine(store, fingerprint)
    return Execution(
        spec=_spec(store),
        run=run,
        backend=place,
        simulate=simulate,
        fingerprint=fingerprint,
        command=command,
        only=_failed_cells(store, cause),
        rules=rules,
    )


def simulate_here(run: str, name: str, *, simulate: Simulate, fingerprint: str) -> str:
    """Simulate the batch of a name in this process, errors raised as they are; return what to say if there is none.

    Raises:
        SweepError: there is no such run or batch.
    """
    store = open_store(run)
    planned_with = store.provenance()[-1]["code_fingerprint"]
    with results_errors(store.name):
        planned = _find_batch(plan_sweep(_spec(store), planned_with), store.finished_cells(), name)
    started = time.perf_counter()
    counts = simulate(batch_of(planned))
    seconds = format_seconds(time.perf_counter() - started)
    changed = "" if planned_with == fingerprint else "; the engine has changed since it failed"
    done = f"{counted(len(planned.policies), 'cell')}, {counted(counts.events, 'event')}"
    return (
        f"{batch_title(planned)}: {done}, no error, {seconds}"
        f"{changed}. Nothing was written; to keep them: sweep retry {run}"
    )


def _spec(store: Any) -> SweepSpec:
    try:
        return spec_from_resolved(store.spec())
    except (KeyError, TypeError, ValueError) as error:
        raise SweepError(
            f"{store.path}/spec.json: no specification of this version of the program ({error})\n"
            "  go on with `sweep run` and the sweep's YAML file"
        ) from error


def _failed_cells(store: Any, cause: str | None) -> set[str]:
    """Return the ids of the cells that have failed and not succeeded since."""
    import polars as pl

    with results_errors(store.name):
        failures = store.failures().select("cell_id", "fingerprint").collect()
    if cause is not None:
        causes = sorted(failures["fingerprint"].unique())
        failures = failures.filter(pl.col("fingerprint").str.starts_with(cause))
        if failures.is_empty():
            known = ", ".join(causes) or "none, no cell has failed"
            raise SweepError(f"--only {cause}: no failure has this cause\n  causes in {store.path}: {known}")
    return set(failures["cell_id"])


def _find_batch(plan: Plan, finished: "CellIds", name: str) -> PlannedBatch:
    """Return the batch of a name: whole, reduced to what is not finished, or a half of those, as it was tried."""
    batches = [*plan.batches, *remaining(plan, finished)]
    for candidates in (iter(batches), (part for batch in batches for part in _parts(batch))):
        for part in candidates:
            if batch_name(part.cell_ids) == name:
                return part
    raise SweepError(
        f"--batch {name}: the sweep as it is now has no such batch\n"
        "  its specification was changed since the batch failed, or the name is mistyped"
    )


def _parts(batch: PlannedBatch) -> Iterator[PlannedBatch]:
    if len(batch.policies) > 1:
        for half in halves(batch):
            yield half
            yield from _parts(half)
