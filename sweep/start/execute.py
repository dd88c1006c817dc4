"""One start of `sweep run` from the plan to the summary; the verb and the tests call it alike."""

import importlib
import os
import platform
import shlex
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from results.wording import counted
from sweep.backends.choose import BackendChoice, open_backend
from sweep.backends.contract import Backend
from sweep.exit_codes import ExitCode, SweepError
from sweep.plan.adaptive import round_lines, wanted_plan
from sweep.plan.estimate import Estimate, estimate_cost
from sweep.plan.plan import Plan, PlannedBatch, identities, plan_sweep, remaining
from sweep.plan.timings import TIMINGS_FILE, timings_of
from sweep.progress import Progress, format_seconds, show_progress
from sweep.runs import check_engine, driver_facts, neighbours, results_errors
from sweep.spec.costs import read_prices
from sweep.spec.spec import SweepSpec
from sweep.start.driver import Driver, Rules
from sweep.start.early_end import leaving, noting_the_end, now, reaching, say, ways_on, with_end
from sweep.start.early_tables import EarlyTables
from sweep.start.interrupts import interruptible
from sweep.start.keeper import Keeper, Tally
from sweep.start.last_lines import answer_lines, closing_lines, failure_lines, interrupted_lines, timing_lines
from sweep.tasks.memory import batch_bytes
from sweep.tasks.task import Simulate, WantedBatch
from sweep.tasks.worker import run_task, simulate_batch

if TYPE_CHECKING:
    from results.store.cell_ids import CellIds


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What to run, where, and how to say it."""

    spec: SweepSpec
    run: str
    """Folder or URL of the run."""
    backend: BackendChoice
    simulate: Simulate
    fingerprint: str
    """Hash of all code and data that `simulate` stands on; part of every cell's identity."""
    command: str
    """The command that goes on with this sweep, as the user would type it."""
    only: Collection[str] | None = None
    """Ids of the cells to which this start is restricted."""
    rules: Rules = field(default_factory=Rules)
    break_lock: bool = False
    """Take the run from whoever holds it."""


def execute(execution: Execution) -> ExitCode:
    """Run what is left of the sweep, print the summary, and return the exit code.

    Raises:
        SweepError: nothing could be started, the rows can't be written, or the cluster went away.
    """
    from results.store.run_store import RunStore
    from results.store.soundness import check_sound

    spec = execution.spec
    prices = read_prices(spec.costs)  # A wrong price must be found before hours of simulation, not after.
    with results_errors(execution.run), ways_on(execution.run, execution.command):
        store = RunStore(execution.run)
        with store.storage.lock(driver_facts(), breaking=execution.break_lock), reaching():
            check_sound(store)
            check_engine(store, execution.fingerprint)
            try:
                with interruptible():
                    return _execute(execution, store, prices)
            except KeyboardInterrupt:
                # Before, between and after rounds nobody looks at a StopRequest.
                say(f"interrupted: what is finished is kept. To go on: {execution.command}")
                return ExitCode.INTERRUPTED


def _execute(execution: Execution, store: Any, prices: Mapping[str, Any]) -> ExitCode:
    from results.store.cell_ids import CellIds
    from results.upkeep.compaction import finish_run

    plan = plan_sweep(execution.spec, execution.fingerprint)
    wanted = wanted_plan(plan, execution.spec, store)
    finished = store.finished_cells() if store.exists() else CellIds()
    left = _restricted(remaining(wanted, finished), execution.only)
    if not left:
        _refresh(execution, store, wanted, prices=prices, before=len(finished))
        finish_run(store)
        say(f"nothing to do: {counted(wanted.cell_count, 'cell is', 'cells are')} already there")
        _say_rounds(execution.spec, plan, store)
        _close(store, execution.spec)
        return ExitCode.OK
    tally = _simulate(execution, store, plan, prices=prices, wanted=wanted, left=left, finished=finished)
    if tally.interrupted:
        kept = counted(tally.cells_done, "new cell", "new cells")
        undone = counted(tally.batches_left, "batch", "batches")
        for line in interrupted_lines(store):
            say(line)
        say(f"interrupted: {kept} kept, {undone} not done. To go on: {execution.command}")
        return ExitCode.INTERRUPTED
    _say_rounds(execution.spec, plan, store)
    _close(store, execution.spec)
    for line in failure_lines(tally, store.name):
        say(line)
    return ExitCode.CELLS_FAILED if tally.cells_failed else ExitCode.OK


def _restricted(left: list[PlannedBatch], only: Collection[str] | None) -> list[PlannedBatch]:
    """Return the batches reduced to some cells."""
    if only is None:
        return left
    chosen = []
    for batch in left:
        lanes = [lane for lane, cell_id in enumerate(batch.cell_ids) if cell_id in only]
        if lanes:
            chosen.append(batch.only(lanes))
    return chosen


def _close(store: Any, spec: SweepSpec) -> None:
    """Print the summary; that there is nothing to compare yet does not make the run a failure."""
    try:
        with results_errors(store.name):
            for line in closing_lines(store, spec):
                print(line)  # noqa: T201  The summary is what this verb is for.
    except SweepError as error:
        say(f"no summary: {error}")


def _prepare(execution: Execution, store: Any, plan: Plan, *, prices: Mapping[str, Any], before: int) -> None:
    from sweep.start.labels import write_costs, write_labels

    store.create(execution.spec.resolved(), _provenance(execution, plan, before))
    store.remove_orphans()
    write_labels(store, plan)
    write_costs(store, prices)


def _refresh(execution: Execution, store: Any, plan: Plan, *, prices: Mapping[str, Any], before: int) -> None:
    """Take over what does not need a simulation: names, baseline, prices."""
    from sweep.start.labels import is_current

    if not is_current(store, execution.spec, prices):
        _prepare(execution, store, plan, prices=prices, before=before)


def _simulate(
    execution: Execution,
    store: Any,
    plan: Plan,
    *,
    prices: Mapping[str, Any],
    wanted: Plan,
    left: list[PlannedBatch],
    finished: "CellIds",
) -> Tally:
    if execution.simulate is simulate_batch:
        # A core that was built from other sources is an error before anything starts.
        importlib.import_module("engine.core.extension")

    started = time.perf_counter()
    tally = Tally()
    tried: set[str] = set()
    backend = open_backend(execution.backend, run_task)
    with noting_the_end(store, tally), leaving(store, backend):
        say(f"backend {backend.name} ({execution.backend.reason}): {backend.describe()}")
        _prepare(execution, store, wanted, prices=prices, before=len(finished))
        engine = execution.fingerprint if execution.simulate is simulate_batch else None
        memory = max(batch_bytes(batch, execution.simulate) for batch in left)
        backend.prepare(store.location, memory, engine)
        there = int(finished.holds(identities(wanted.batches)).sum()) if finished else 0
        while left:
            if execution.spec.until is not None:
                tried.update(cell for batch in left for cell in batch.cell_ids)
            _drive(execution, store, backend, left=left, there=there + tally.cells_done, tally=tally)
            if execution.spec.until is None or execution.only is not None or tally.interrupted or tally.stopped:
                break
            left = _next_round(execution, store, plan, tried)
            if tally.stop_asked:
                tally.interrupted = bool(left)
                break
        workers = backend.workers
    _finish(store, tally, workers=workers, started=started)
    return tally


def _drive(
    execution: Execution, store: Any, backend: Backend, *, left: list[PlannedBatch], there: int, tally: Tally
) -> None:
    """Run some batches to their end and add to `tally` what came of them."""
    cells = sum(len(batch.policies) for batch in left)
    # A run in a folder is among its neighbours.
    own = () if store.storage.stages else timings_of(store.storage.lines(TIMINGS_FILE))
    cost = estimate_cost(left, neighbours(execution.run), own)
    todo = f"{counted(cells, 'cell')} in {counted(len(left), 'batch', 'batches')} to do"
    say(f"{todo}, {there} are there{_forecast(cost, backend.workers)}")
    with show_progress(cells) as progress:
        keeper = Keeper(
            store,
            progress,
            lambda name: f"sweep retry {shlex.quote(store.name)} --batch {name}",
            tally=tally,
            tables=EarlyTables(left, lambda title: _show_table(store, title, progress)),
        )
        driver = Driver(
            _wanted(left, cost),
            count=len(left),
            keeper=keeper,
            backend=backend,
            simulate=execution.simulate,
            fingerprint=execution.fingerprint,
            run=store.location,
            rules=execution.rules,
        )
        driver.drive(progress)
        keeper.write_timings()


def _show_table(store: Any, title: str, progress: Progress) -> None:
    """Show the summary so far among the lines of progress; the sweep goes on if there is none."""
    try:
        with results_errors(store.name):
            progress.note("\n".join([title, *answer_lines(store)]))
    except SweepError as error:
        progress.note(f"{title} no summary: {error}")


def _next_round(execution: Execution, store: Any, plan: Plan, tried: set[str]) -> list[PlannedBatch]:
    """Return the batches that the replicates so far ask for, and write whose cells count from now on."""
    from sweep.start.labels import write_labels

    _say_rounds(execution.spec, plan, store)
    wanted = wanted_plan(plan, execution.spec, store)
    write_labels(store, wanted)
    # What has failed in this start would fail again: it waits for `sweep retry`.
    return [batch for batch in remaining(wanted, store.finished_cells()) if tried.isdisjoint(batch.cell_ids)]


def _say_rounds(spec: SweepSpec, plan: Plan, store: Any) -> None:
    if spec.until is not None:
        for line in round_lines(spec, plan, store):
            say(line)


def _wanted(left: Sequence[PlannedBatch], cost: Estimate | None) -> Iterator[tuple[WantedBatch, float | None]]:
    """Yield what is to do: replicate by replicate, so that a whole table is there early, the longest first.

    Within the last replicate that leaves no worker alone with a long batch at the end.
    """
    weights = cost.core_seconds if cost else [float(batch.coordinate.guest.vcpus) for batch in left]
    total = sum(weights) or 1.0
    for index in sorted(range(len(left)), key=lambda index: (left[index].coordinate.replicate, -weights[index])):
        yield WantedBatch(planned=left[index], share=weights[index] / total), cost.core_seconds[index] if cost else None


def _finish(store: Any, tally: Tally, *, workers: int, started: float) -> None:
    from results.upkeep.compaction import compact

    if not tally.interrupted and tally.cells_done:
        compact(store)
    tally.wall_seconds = time.perf_counter() - started
    store.write_provenance(with_end(store.provenance(), tally, workers=workers))
    for line in timing_lines(tally, workers):
        say(line)


def _forecast(cost: Estimate | None, workers: int) -> str:
    if cost is None:
        return ""
    return f"; about {format_seconds(cost.total_seconds / workers)} by {cost.source}"


def _provenance(execution: Execution, plan: Plan, before: int) -> dict[str, Any]:
    return {
        "code_fingerprint": plan.fingerprint,
        "cells_before": before,
        "started": now(),
        "command": execution.command,
        "backend": execution.backend.name.value,
        "host": platform.node(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
    }
