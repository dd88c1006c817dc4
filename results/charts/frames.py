"""What charts read: the summary of a run with places, roles and ranks, and the windows of a few groups priced."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import polars as pl

from results.compare.pareto import yardsticks_of
from results.prices.cost_model import CostModel
from results.statistics.geomean import geometric_change
from results.statistics.sequential import rule_of
from results.statistics.verdicts import MINIMUM_EFFECT, Rule, Verdict
from results.summary import GROUP, PricedCells, Tables, priced_or_error, published_comparison, summarize_priced

BASELINE: Final = "baseline"
YARDSTICK: Final = "yardstick"
POLICY: Final = "policy"
DIGITS: Final = 6
"""Significant digits of the numbers in a chart; a screen shows three."""


@dataclass(frozen=True, kw_only=True)
class RunFrames:
    """One run under one cost model, against one baseline."""

    tables: Tables
    spec: Mapping[str, Any]
    model: CostModel
    baseline: str
    minimum_effect: float = MINIMUM_EFFECT
    """Differences up to this, in %, are no difference."""

    @cached_property
    def rule(self) -> Rule:
        """How differences are judged: as `sweep compare` judges them."""
        return rule_of(self.spec, minimum_effect=self.minimum_effect)

    @cached_property
    def order(self) -> tuple[str, ...]:
        """Policies as the specification has them."""
        return tuple(policy["name"] for policy in self.spec["policies"])

    @cached_property
    def knobs(self) -> dict[str, dict[str, Any]]:
        """Policy -> its knobs, as far as the specification says them."""
        return {policy["name"]: policy.get("knobs", {}) for policy in self.spec["policies"]}

    def role(self, policy: str) -> str:
        """Return what a policy is here: the baseline, a yardstick that nobody can install, or a policy."""
        if policy == self.baseline:
            return BASELINE
        return YARDSTICK if policy in yardsticks_of(self.spec) else POLICY

    @cached_property
    def _priced(self) -> PricedCells:
        """What every summary is made from: reading and pricing is what takes long."""
        return priced_or_error(self.tables, self.model)

    @cached_property
    def summary(self) -> pl.DataFrame:
        """One row per workload, guest and policy: `results.summarize`, and how charts call and order them."""
        return self.decorated(self.against(self.baseline))

    def against(self, policy: str) -> pl.DataFrame:
        """Return the summary with differences to any policy, and verdicts on them: one family."""
        return summarize_priced(self._priced, policy, policies=self.order, rule=self.rule)

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

    def windows_of(self, groups: pl.DataFrame) -> pl.LazyFrame:
        """Return the windows of some workloads and guests only; what is not asked for is not read."""
        return only(self.tables.scan_windows(), groups)

    def published(self) -> pl.DataFrame | None:
        """Return predictions beside what was published about kernbench, if the run has what they are about."""
        labels = [case["label"] for case in self.spec["workloads"] if case["name"] == "kernbench"]
        return published_comparison(self._priced, labels, rule=self.rule)


def is_dying() -> pl.Expr:
    """Return in which rows of a summary the host dies, so that a chart draws no number but the word."""
    return pl.col("verdict") == Verdict.DIES


def without_the_dying(rows: pl.DataFrame, summary: pl.DataFrame, *values: str) -> pl.DataFrame:
    """Return rows of a chart with a column `word`: where the host dies it says so, and all `values` are null."""
    place = ["workload", "guest", "policy"]
    dying = summary.filter(is_dying()).select(*place, word=pl.col("verdict"))
    marked = rows.join(dying, on=place, how="left", maintain_order="left")
    return marked.with_columns(pl.when(pl.col("word").is_null()).then(pl.col(values)))


def only(rows: pl.LazyFrame, groups: pl.DataFrame) -> pl.LazyFrame:
    """Return the rows of some workloads and guests; what is not asked for is not read."""
    wanted = groups.select("workload", "guest").unique(maintain_order=True)
    likely = [pl.col(name).is_in(wanted[name].unique(maintain_order=True).implode()) for name in wanted.columns]
    return rows.filter(*likely).join(wanted.lazy(), on=wanted.columns, how="semi")


def labels_of(rows: pl.DataFrame) -> list[str]:
    """Return the labels of the policies in `rows`, best first."""
    return rows.select("label", "rank").unique().sort("rank", "label")["label"].to_list()


def in_order(rows: pl.DataFrame, column: str) -> list[Any]:
    """Return the values of a column in the order in which they come."""
    return rows[column].unique(maintain_order=True).to_list()


def show_guests(summary: pl.DataFrame, count: int = 2) -> pl.DataFrame:
    """Return one row per workload and guest, for the guests that stand for all: middle size, fewest and most vCPUs."""
    guests = summary.select(*GROUP, "panel", "size").unique(maintain_order=True)
    sizes = guests["memory_mib"].unique().sort().to_list()
    middle = sizes[(len(sizes) - 1) // 2]
    sized = guests.filter(pl.col("memory_mib") == middle)
    numbers = sized["vcpus"].unique().sort().to_list()
    chosen = [numbers[round(i * (len(numbers) - 1) / max(count - 1, 1))] for i in range(count)] if count > 1 else []
    picked = sized.filter(pl.col("vcpus").is_in(chosen or [numbers[-1]]))
    return picked.unique(["workload", "vcpus"], keep="first", maintain_order=True)


def rounded(rows: pl.DataFrame, *columns: str) -> pl.DataFrame:
    """Return some columns with as many digits as a chart needs: what a chart does not show is not carried along."""
    return rows.select(*columns).with_columns(pl.selectors.float().round_sig_figs(DIGITS))


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


def names(policies: Sequence[str], most: int = 4) -> str:
    """Return names as a phrase: a, b and c."""
    shown = list(policies[:most])
    if len(policies) > most:
        shown.append(f"{len(policies) - most} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
