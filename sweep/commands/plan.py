"""`sweep plan`: what a sweep would do."""

import json
import os
from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer

from results.wording import counted
from sweep.commands.common import NameOption, OutOption, OverrideOption, SpecArgument
from sweep.commands.options import choose_sweep
from sweep.plan.estimate import Estimate, estimate_cost
from sweep.plan.plan import POLICIES_PER_BATCH, Plan, PlannedBatch, first_of_each, plan_sweep, remaining
from sweep.progress import format_bytes, format_seconds
from sweep.runs import neighbours, results_errors
from sweep.spec.spec import SweepSpec

_AXES: Final = {"policies": "policy", "workloads": "workload", "guests": "guest", "replicates": "replicate"}
"""Axis of a sweep -> what one of it is called."""

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def plan(
    spec: SpecArgument,
    overrides: OverrideOption = None,
    name: NameOption = None,
    out: OutOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show cells, batches and estimated cost of a sweep; start nothing."""
    from results.store.cell_ids import CellIds
    from results.store.run_store import RunStore
    from sweep.plan.adaptive import wanted_plan
    from sweep.plan.cell import engine_fingerprint

    sweep = choose_sweep(spec, overrides=overrides, name=name, out=out)
    folder = sweep.folder
    planned = wanted = plan_sweep(sweep.spec, engine_fingerprint())
    finished = CellIds()
    with results_errors():
        store = RunStore(folder)
        wanted = wanted_plan(planned, sweep.spec, store)
        if store.exists():
            finished = store.finished_cells()
    left = remaining(wanted, finished)
    cost = estimate_cost(left, neighbours(folder))
    content = plan_content(sweep.spec, wanted, left=left, cost=cost)
    if sweep.spec.until is not None:
        content["until"] = sweep.spec.resolved()["until"]
        content["cells_at_most"], content["batches_at_most"] = planned.cell_count, len(planned.batches)
    content["run"] = folder
    typer.echo(json.dumps(content, indent=1) if as_json else "\n".join(plan_lines(content)))


def plan_content(
    sweep: SweepSpec, planned: Plan, *, left: Sequence[PlannedBatch], cost: Estimate | None
) -> dict[str, Any]:
    """Return what a plan says, as plain values."""
    axes = {
        "policies": len(sweep.policies),
        "workloads": len(sweep.workloads),
        "guests": len(sweep.guests),
        "replicates": sweep.replicates,
    }
    distinct = int(first_of_each(planned.batches).sum())
    new = sum(len(batch.policies) for batch in left)
    return {
        "name": sweep.name,
        "axes": axes,
        "dominating_axis": _dominating(axes),
        "cells": planned.cell_count,
        "cells_distinct": distinct,
        "cells_finished": distinct - new,
        "cells_new": new,
        "batches": len(planned.batches),
        "batches_new": len(left),
        "estimate": None
        if cost is None
        else {"core_seconds": cost.total_seconds, "bytes": cost.bytes, "source": cost.source},
    }


def plan_lines(content: dict[str, Any]) -> list[str]:
    """Return the plan as text."""
    axes = " x ".join(counted(count, _AXES[axis], axis) for axis, count in content["axes"].items())
    lines = [
        f"sweep      {content['name']} -> {content['run']}",
        f"axes       {axes}",
        f"cells      {content['cells']}: {content['cells_finished']} are there, {content['cells_new']} to do",
        f"batches    {content['batches']}: {content['batches_new']} to do; {POLICIES_PER_BATCH} policies may share one",
    ]
    if "until" in content:
        until = content["until"]
        lines.append(
            f"until      {until['minimum']} to {until['maximum']} replicates: more, until each difference in "
            f"{until['metric']} is known to ±{until['half_width']:g} %;"
        )
        cells, batches = content["cells_at_most"], content["batches_at_most"]
        lines.append(f"           at most {counted(cells, 'cell')} in {counted(batches, 'batch', 'batches')}")
    twins = content["cells"] - content["cells_distinct"]
    if twins:
        lines.append(
            f"twins      {counted(twins, 'cell has', 'cells have')} the same answer as another one: simulated once"
        )
    lines.append(f"dominates  {content['dominating_axis']}")
    cost = content["estimate"]
    if not content["cells_new"]:
        lines.append("estimate   nothing to do")
    elif cost is None:
        lines.append("estimate   unknown: no batch of these workloads was run before; `sweep run` measures as it goes")
    else:
        cores = len(os.sched_getaffinity(0))
        wall = format_seconds(cost["core_seconds"] / cores)
        lines.append(
            f"estimate   {cost['core_seconds']:,.0f} core-seconds (about {wall} on {counted(cores, 'core')}), "
            f"{format_bytes(cost['bytes'])} of Parquet"
        )
        lines.append(f"           from {cost['source']}")
    return lines


def _dominating(axes: dict[str, int]) -> str:
    """Name the axis that costs most: policies share a trace, so only batches count."""
    traces = {axis: count for axis, count in axes.items() if axis != "policies"}
    batches_of_policies = -(-axes["policies"] // 64)
    costs = {"policies": batches_of_policies, **traces}
    axis = max(costs, key=lambda name: costs[name])
    if costs[axis] <= 1:
        return "no axis: one batch"
    return f"{axis}: multiplies the number of traces by {costs[axis]}"
