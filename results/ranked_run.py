"""One run under one cost model, against one baseline: its summary, as charts and reports call and order policies."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import polars as pl

from results.compare.pareto import yardsticks_of
from results.prices.cost_model import CostModel
from results.statistics.geomean import geometric_change
from results.statistics.sequential import rule_of
from results.statistics.verdicts import MINIMUM_EFFECT, Rule, Verdict
from results.store.labels import LabelledRun
from results.summary import PricedCells, priced_or_error, published_comparison, summarize_priced

BASELINE: Final = "baseline"
YARDSTICK: Final = "yardstick"
POLICY: Final = "policy"


@dataclass(frozen=True, kw_only=True)
class RankedRun:
    """One run under one cost model, against one baseline."""

    run: LabelledRun
    costs: CostModel
    baseline: str
    minimum_effect: float = MINIMUM_EFFECT
    """Differences up to this, in %, are no difference."""

    @cached_property
    def rule(self) -> Rule:
        """How differences are judged: as `sweep compare` judges them."""
        return rule_of(self.run.spec, minimum_effect=self.minimum_effect)

    def role(self, policy: str) -> str:
        """Return what a policy is here: the baseline, a yardstick that nobody can install, or a policy."""
        if policy == self.baseline:
            return BASELINE
        return YARDSTICK if policy in yardsticks_of(self.run) else POLICY

    @cached_property
    def _priced(self) -> PricedCells:
        """What every summary is made from: reading and pricing is what takes long."""
        return priced_or_error(self.run, self.costs)

    @cached_property
    def summary(self) -> pl.DataFrame:
        """One row per workload, guest and policy: `results.summarize`, and how charts call and order them."""
        return self.decorated(self.against(self.baseline))

    def against(self, policy: str) -> pl.DataFrame:
        """Return the summary with differences to any policy, and verdicts on them: one family."""
        return summarize_priced(self._priced, policy, policies=self.run.policies, rule=self.rule)

    def decorated(self, summary: pl.DataFrame) -> pl.DataFrame:
        """Return a summary with columns `panel`, `size`, `label`, `role` and `rank`, best policies first."""
        ranked = self.ranking(summary)["policy"].to_list()
        # Policies without a number everywhere come last.
        found = list(dict.fromkeys([*ranked, *summary["policy"].unique(maintain_order=True)]))
        roles = {policy: self.role(policy) for policy in found}
        labels = {p: p if role == POLICY else f"{p} ({role})" for p, role in roles.items()}
        return (
            summary.join(_sizes(summary), on=["guest", "vcpus", "memory_mib"], how="left", maintain_order="left")
            .with_columns(
                panel=pl.format("{} vCPU", "vcpus"),
                label=pl.col("policy").replace_strict(labels, return_dtype=pl.String),
                role=pl.col("policy").replace_strict(roles, return_dtype=pl.String),
                rank=pl.col("policy").replace_strict({p: i for i, p in enumerate(found)}, return_dtype=pl.Int64),
            )
            .sort("workload", "vcpus", "memory_mib", "guest", "rank", maintain_order=True)
        )

    def ranking(self, summary: pl.DataFrame) -> pl.DataFrame:
        """Return each policy's mean change, geometric over workloads and guests, in %, best first.

        One under which the host dies somewhere has none: its mean would be that of other guests.
        """
        return (
            summary.filter(~is_dying().any().over("policy"), pl.col("difference_percent").is_not_null())
            .group_by("policy", maintain_order=True)
            .agg(
                mean=geometric_change("difference_percent"),
                low=pl.col("difference_percent").min(),
                high=pl.col("difference_percent").max(),
                groups=pl.len(),
            )
            .sort("mean", maintain_order=True)
        )

    def published(self) -> pl.DataFrame | None:
        """Return predictions beside what was published about kernbench, if the run has what they are about."""
        return published_comparison(self._priced, self.run.spec["workloads"], rule=self.rule)


def is_dying() -> pl.Expr:
    """Return in which rows of a summary the host dies, so that a chart draws no number but the word."""
    return pl.col("verdict") == Verdict.DIES


def _sizes(summary: pl.DataFrame) -> pl.DataFrame:
    """Return how guests of one number of vCPUs are called beside each other: by memory, if that tells them apart."""
    guests = summary.select("guest", "vcpus", "memory_mib").unique()
    memory = (
        pl.when(pl.col("memory_mib") % 1024 == 0)
        .then(pl.format("{} GiB", pl.col("memory_mib") // 1024))
        .otherwise(pl.format("{} MiB", "memory_mib"))
    )
    alone = pl.len().over("vcpus", "memory_mib") == 1
    rest = pl.col("guest").str.strip_prefix(pl.format("{}cpu-", "vcpus"))
    return guests.with_columns(size=pl.when(alone.all()).then(memory).otherwise(rest))
