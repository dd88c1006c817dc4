"""One start of `sweep run` from the plan to the summary; the verb and the tests call it alike."""

import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sweep.backends.choose import BackendName, open_backend
from sweep.closing import closing_lines, timing_lines
from sweep.commands.common import load_cost_model, results_errors
from sweep.driver import Tally, locked, run_batches
from sweep.estimate import Estimate, estimate_cost
from sweep.exit_codes import ExitCode, SweepError
from sweep.plan import Plan, PlannedBatch, plan_sweep, remaining
from sweep.progress import format_seconds, show_progress
from sweep.spec import SweepSpec
from sweep.warm import ensure_compiled
from sweep.worker import Simulate, run_task, simulate_batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What to run, where, and how to say it."""

    spec: SweepSpec
    folder: Path
    backend: BackendName
    reason: str
    workers: int | None
    simulate: Simulate
    fingerprint: str
    """Hash of all code and data that `simulate` stands on; part of every cell's identity."""
    command: str
    """The command that goes on with this sweep, as the user would type it."""


def execute(execution: Execution) -> ExitCode:
    """Run what is left of the sweep, print the summary, and return the exit code.

    Raises:
        SweepError: nothing could be started.
    """
    from results.store import RunStore

    folder, spec = execution.folder, execution.spec
    load_cost_model(spec.costs)  # A wrong price must be found before hours of simulation, not after.
    with locked(folder), results_errors():
        store = RunStore(folder)
        plan = plan_sweep(spec, execution.fingerprint)
        finished = store.finished_cells() if (folder / "spec.json").exists() else set()
        left = remaining(plan, finished)
        tally: Tally | None = None
        if left:
            there = sum(cell in finished for batch in plan.batches for cell in batch.cell_ids)
            tally = _simulate(execution, store, plan, left=left, there=there)
        else:
            _refresh(execution, store, plan)
            _say(f"nothing to do: {plan.cell_count} cells are already there")
        if tally is not None and tally.interrupted:
            kept = tally.cells_done
            _say(f"interrupted: {kept} new cells are kept. To go on: {execution.command}")
            return ExitCode.INTERRUPTED
        _close(store, spec)
    if tally is not None and tally.cells_failed:
        _say(f"{tally.cells_failed} cells failed; the same command tries them again: {execution.command}")
        return ExitCode.CELLS_FAILED
    return ExitCode.OK


def _close(store: Any, spec: SweepSpec) -> None:
    """Print the summary; that there is nothing to compare yet does not make the run a failure."""
    try:
        with results_errors():
            for line in closing_lines(store, spec):
                print(line)  # noqa: T201  The summary is what this verb is for.
    except SweepError as error:
        _say(f"no summary: {error}")


def _prepare(execution: Execution, store: Any, plan: Plan) -> None:
    from sweep.view import write_labels

    store.create(execution.spec.resolved(), _provenance(execution, plan))
    store.remove_orphans()
    write_labels(execution.folder, plan)


def _refresh(execution: Execution, store: Any, plan: Plan) -> None:
    """Take over what does not need a simulation: names, baseline, prices."""
    if store.spec() != _as_json(execution.spec.resolved()):
        _prepare(execution, store, plan)


def _simulate(execution: Execution, store: Any, plan: Plan, *, left: list[PlannedBatch], there: int) -> Tally:
    if execution.simulate is simulate_batch:
        ensure_compiled(_say)
    started = time.perf_counter()
    cells = sum(len(batch.policies) for batch in left)
    cost = estimate_cost(left, execution.folder.parent)
    shares = _shares(left, cost)
    # The longest batches first, so that no worker is alone with one at the end.
    order = sorted(range(len(left)), key=lambda index: -shares[index])
    backend = open_backend(execution.backend, run_task, workers=execution.workers)
    try:
        _say(f"backend {backend.name} with {backend.workers} workers ({execution.reason})")
        _say(f"{cells} cells in {len(left)} batches to do, {there} are there{_forecast(cost, backend.workers)}")
        _prepare(execution, store, plan)
        with show_progress(cells) as progress:
            tally = run_batches(
                [left[index] for index in order],
                store=store,
                backend=backend,
                simulate=execution.simulate,
                fingerprint=plan.fingerprint,
                progress=progress,
                shares=[shares[index] for index in order],
            )
    finally:
        backend.close()
    _finish(store, tally, workers=backend.workers, started=started)
    return tally


def _finish(store: Any, tally: Tally, *, workers: int, started: float) -> None:
    from results.compaction import compact

    if not tally.interrupted and tally.cells_done:
        compact(store)
    tally.wall_seconds = time.perf_counter() - started
    records = store.provenance()
    totals = {key: value for key, value in asdict(tally).items() if key != "failures"}
    records[-1] |= {"ended": _now(), "workers": workers, "tally": totals}
    temporary = store.path / ".provenance.json.tmp"
    temporary.write_text(json.dumps(records, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(store.path / "provenance.json")
    for line in timing_lines(tally, workers):
        _say(line)


def _forecast(cost: Estimate | None, workers: int) -> str:
    if cost is None:
        return ""
    return f"; about {format_seconds(cost.total_seconds / workers)} by {cost.source}"


def _shares(left: list[PlannedBatch], cost: Estimate | None) -> list[float]:
    """Return which part of the work each batch is: by estimate, or by vCPUs if nothing is known."""
    weights = list(cost.core_seconds) if cost else [float(batch.coordinate.guest.vcpus) for batch in left]
    total = sum(weights) or 1.0
    return [weight / total for weight in weights]


def _provenance(execution: Execution, plan: Plan) -> dict[str, Any]:
    return {
        "code_fingerprint": plan.fingerprint,
        "started": _now(),
        "command": execution.command,
        "backend": execution.backend.value,
        "host": platform.node(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
    }


def _as_json(value: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(value))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201  Progress and notes go to stderr, results to stdout.
