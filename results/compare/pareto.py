"""Which policies nobody beats in several metrics at once: the Pareto front of each workload and guest."""

from collections.abc import Sequence
from typing import Final

import polars as pl

from results.compare.measures import Measure, measure_named, measured_cells
from results.prices.cost_model import CostModel
from results.render import Sheet, compact_count, enumerated, shortened
from results.store.labels import LabelledRun
from results.summary import GROUP

GOALS: Final = ("elapsed", "pages_peak", "exits")
"""Time, memory and exits: what a policy can save."""


def beaten_by(rows: pl.DataFrame, goals: Sequence[str], within: Sequence[str], *, name: str) -> pl.Series:
    """Return per row which other row of its group beats it: no worse in all goals, and better in one; null for none.

    Of several that beat it, the one that is best in the first goal. Less is better in every goal.
    """
    numbered = rows.select(*within, *goals, name).with_row_index("_row")
    pairs = numbered.join(numbered, on=list(within), suffix="_other")
    no_worse = pl.all_horizontal(*(pl.col(f"{goal}_other") <= pl.col(goal) for goal in goals))
    better = pl.any_horizontal(*(pl.col(f"{goal}_other") < pl.col(goal) for goal in goals))
    first = (
        pairs.filter(no_worse & better)
        .sort("_row", *(f"{goal}_other" for goal in goals), f"{name}_other", maintain_order=True)
        .group_by("_row", maintain_order=True)
        .agg(pl.col(f"{name}_other").first().alias("beaten_by"))
    )
    return numbered.join(first, on="_row", how="left", maintain_order="left")["beaten_by"]


def yardsticks_of(run: LabelledRun) -> set[str]:
    """Return the policies that nobody can install: they see what no hypervisor sees, or need other hardware."""
    return {name for name, own in run.knobs.items() if own.get("oracle") or own.get("shadow") is False}


def trade_offs(run: LabelledRun, costs: CostModel, *, metrics: Sequence[str] = GOALS) -> pl.DataFrame:
    """Return one row per workload, guest and policy: means of the metrics, and `beaten_by`, null on the front.

    Rows are sorted by the first metric. Yardsticks (`yardsticks_of`) are left out: nobody can choose them. So are
    policies where the host dies in a replicate: `results.statistics.verdicts` says which.
    """
    goals = [measure_named(name) for name in metrics]
    cells = measured_cells(run, goals, costs).filter(
        ~pl.col("policy").is_in(sorted(yardsticks_of(run))), ~pl.col("dies").any().over(*GROUP, "policy")
    )
    means = cells.group_by(*GROUP, "policy").agg(pl.col(goal.name).mean() for goal in goals)
    means = means.sort(*GROUP, *metrics, "policy")
    signed = means.with_columns(-pl.col(goal.name) for goal in goals if goal.is_more_better)
    return means.with_columns(beaten_by(signed, metrics, GROUP, name="policy"))


def trade_off_sheets(rows: pl.DataFrame, metrics: Sequence[str] = GOALS) -> list[Sheet]:
    """Return one sheet per workload and guest: the front first, then who is beaten, and by whom."""
    goals = [measure_named(name) for name in metrics]
    header = ("policy", *(f"{goal.name}{' s' if goal.unit == 's' else ''}" for goal in goals), "beaten by")
    listed = enumerated(metrics, most=len(metrics))
    sheets = []
    for (workload, guest), group in rows.group_by("workload", "guest", maintain_order=True):
        ranked = group.sort(pl.col("beaten_by").is_not_null(), maintain_order=True)
        lines = tuple(
            (
                shortened(row["policy"]),
                *(_shown(goal, row[goal.name]) for goal in goals),
                shortened(row["beaten_by"]) if row["beaten_by"] else "nobody",
            )
            for row in ranked.iter_rows(named=True)
        )
        title = f"{workload} on {guest}: no other policy is at least as good in {listed} as one of the first"
        sheets.append(Sheet(title=title, header=header, rows=lines))
    return sheets


def _shown(goal: Measure, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if goal.unit == "s" else compact_count(value) if abs(value) >= 1000 else f"{value:.4g}"
