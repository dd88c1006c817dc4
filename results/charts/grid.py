"""How much of a large grid a page shows: the outermost policies, guests spread over the range, the first workloads."""

from typing import Final

import polars as pl

from results.ranked_run import BASELINE

WORKLOADS_MAX: Final = 8
POLICIES_MAX: Final = 40
GUESTS_MAX: Final = 48


def shown_grid(summary: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Return the part of a decorated summary that charts show, and a sentence for each thing that is left out."""
    notes = []
    workloads = summary["workload"].unique(maintain_order=True).to_list()
    if len(workloads) > WORKLOADS_MAX:
        notes.append(f"{WORKLOADS_MAX} of {len(workloads)} workloads are drawn.")
        summary = summary.filter(pl.col("workload").is_in(workloads[:WORKLOADS_MAX]))
    ranked = summary.select("policy", "rank", "role").unique().sort("rank", "policy")
    if ranked.height > POLICIES_MAX:
        notes.append(f"{POLICIES_MAX} of {ranked.height} policies are drawn: the best, the worst and the baseline.")
        best = ranked.head(POLICIES_MAX // 2)
        worst = ranked.tail(POLICIES_MAX - best.height)
        kept = pl.concat([best, worst, ranked.filter(pl.col("role") == BASELINE)])["policy"].unique()
        summary = summary.filter(pl.col("policy").is_in(kept.implode()))
    guests = summary.select("guest", "vcpus", "memory_mib").unique().sort("vcpus", "memory_mib", "guest")
    if guests.height > GUESTS_MAX:
        notes.append(f"{GUESTS_MAX} of {guests.height} guests are drawn, spread evenly over their sizes.")
        places = [round(i * (guests.height - 1) / (GUESTS_MAX - 1)) for i in range(GUESTS_MAX)]
        summary = summary.filter(pl.col("guest").is_in(guests[places]["guest"].implode()))
    return summary, notes
