"""Replicates in rounds: which part of a plan is wanted by what the finished cells say, for sweeps with `until`.

A round is a look of `sequential`. The wanted part is a function of the plan and of the finished cells, and it
only grows; so a sweep that was stopped, or is started again, goes on where it was.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from results.wording import counted
from sweep.plan.plan import Kind, Plan
from sweep.spec.costs import load_cost_model
from sweep.spec.sections import ELAPSED
from sweep.spec.spec import SweepSpec, Until

if TYPE_CHECKING:
    import polars as pl

    from results.statistics.sequential import Target
    from results.statistics.student_t import Floats
    from results.store.run_store import RunStore


def wanted_plan(plan: Plan, spec: SweepSpec, store: "RunStore") -> Plan:
    """Return the part of `plan` that the finished cells ask for; all of it for a sweep without `until`."""
    if spec.until is None:
        return plan
    wanted = _wanted(_known(plan, spec, store), _target(spec))
    batches = tuple(batch for batch in plan.batches if batch.coordinate.replicate < wanted[batch.kind])
    return replace(plan, batches=batches)


def round_lines(spec: SweepSpec, plan: Plan, store: "RunStore") -> Iterator[str]:
    """Yield what the rounds have come to: for each workload and guest the replicates, and the widest interval."""
    import numpy as np

    from results.statistics.sequential import look_half_widths

    target = _target(spec)
    known = _known(plan, spec, store)
    wanted = _wanted(known, target)
    for kind, rows in known.items():
        most = min(wanted[kind], min((len(values) for values in rows.values()), default=0))
        size = max((look for look in target.sizes if look <= most), default=0)
        if not size:
            continue
        widths = look_half_widths(np.stack([values[:size] for values in rows.values()]), target)
        widest = int(widths.argmax())
        verdict = "reached" if widths[widest] <= target.half_width else "NOT reached"
        yield (
            f"until: {kind[0]} on {kind[1]}: {counted(size, 'replicate')}, widest half width {widths[widest]:.3g} % "
            f"({list(rows)[widest]}): {target.half_width:g} % {verdict}"
        )


def _wanted(known: Mapping[Kind, Mapping[str, "Floats"]], target: "Target") -> dict[Kind, int]:
    """Return how many replicates each workload on each guest needs by what is known of it."""
    from results.statistics.sequential import wanted_replicates

    return {kind: wanted_replicates(list(rows.values()), target) for kind, rows in known.items()}


def _known(plan: Plan, spec: SweepSpec, store: "RunStore") -> dict[Kind, dict[str, "Floats"]]:
    """Return for each kind and each policy that counts there the differences so far, none where none is known."""
    import numpy as np

    differences = _differences(plan, spec, store)
    return {
        kind: {policy: differences.get((*kind, policy), np.empty(0)) for policy in policies}
        for kind, policies in _compared(plan, _until(spec)).items()
    }


def _until(spec: SweepSpec) -> Until:
    if spec.until is None:
        raise ValueError(f"sweep {spec.name} has no `until`: its replicates are fixed")
    return spec.until


def _target(spec: SweepSpec) -> "Target":
    from results.statistics.sequential import Target

    until = _until(spec)
    names = ("half_width", "minimum", "maximum", "confidence")
    return Target(**{name: getattr(until, name) for name in names})


def _compared(plan: Plan, until: Until) -> dict[Kind, list[str]]:
    """Return for each kind the policies whose differences have to become narrow."""
    there: dict[Kind, dict[str, None]] = defaultdict(dict)
    for batch in plan.batches:
        there[batch.kind] |= dict.fromkeys(policy.name for policy in batch.policies)
    chosen = until.policies
    return {
        kind: [name for name in names if name != until.baseline and (not chosen or name in chosen)]
        if until.baseline in names
        else []
        for kind, names in there.items()
    }


def _differences(plan: Plan, spec: SweepSpec, store: "RunStore") -> dict[tuple[str, str, str], "Floats"]:
    """Return by workload, guest and policy the differences to the baseline in %, as far as no replicate is missing."""
    import polars as pl

    from results.statistics.verdicts import relative_difference

    if not store.exists():
        return {}
    until = _until(spec)
    cells = _planned_cells(plan).join(_values(spec, store), on="cell_id")
    base = cells.filter(pl.col("policy") == until.baseline).select("workload", "guest", "replicate", base="value")
    pairs = cells.join(base, on=["workload", "guest", "replicate"]).with_columns(d=relative_difference("value", "base"))
    rows = pairs.sort("replicate").group_by("workload", "guest", "policy").agg("replicate", "d")
    found = {}
    for workload, guest, policy, replicates, differences in rows.iter_rows():
        gapless = next((i for i, replicate in enumerate(replicates) if i != replicate), len(replicates))
        # No difference in % exists where the baseline counts nothing: more replicates would not change that.
        values = [0.0 if difference is None else difference for difference in differences[:gapless]]
        found[workload, guest, policy] = pl.Series(values, dtype=pl.Float64).to_numpy()
    return found


def _values(spec: SweepSpec, store: "RunStore") -> "pl.DataFrame":
    import polars as pl

    metric = _until(spec).metric
    if metric != ELAPSED:
        return store.scan("cells").select("cell_id", value=pl.col(metric).cast(pl.Float64)).collect()
    from results.prices.pricing import price_cells

    priced = price_cells(store.scan("windows"), load_cost_model(spec.costs))
    return priced.select("cell_id", value=pl.col("elapsed_ns").cast(pl.Float64)).collect(engine="streaming")


def _planned_cells(plan: Plan) -> "pl.DataFrame":
    """Return the cells of a plan by the names of the plan: finished cells may have been stored under others."""
    import polars as pl

    rows = [
        (cell_id, *batch.kind, batch.coordinate.replicate, policy.name)
        for batch in plan.batches
        for policy, cell_id in zip(batch.policies, batch.cell_ids, strict=True)
    ]
    return pl.DataFrame(rows, schema=["cell_id", "workload", "guest", "replicate", "policy"], orient="row")
