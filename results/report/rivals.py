"""How the other policies stand to the best one: who beats it somewhere, who can't be told from it, who is as good."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import polars as pl

from results.ranked_run import BASELINE, POLICY, RankedRun, is_dying
from results.render import enumerated
from results.report.phrases import joined, listed, signed
from results.statistics.verdicts import Verdict

_HEADLINE_NAMES_MAX: Final = 3


@dataclass(frozen=True, kw_only=True)
class Rivals:
    """Verdicts of all policies that one can choose against the best of them: a family of its own."""

    best: str
    rows: pl.DataFrame
    minimum_effect: float

    @classmethod
    def of(cls, ranked: RankedRun, best: str) -> "Rivals":
        """Return the rivals of `best` in a run; one under which the host dies somewhere is none."""
        rows = ranked.decorated(ranked.against(best)).filter(
            pl.col("role").is_in([POLICY, BASELINE]), ~is_dying().any().over("policy")
        )
        several = rows["workload"].n_unique() > 1
        place = pl.format("{} on {}", "workload", "guest") if several else pl.col("guest")
        rivals = rows.filter(pl.col("policy") != best).with_columns(place=place)
        return cls(best=best, rows=rivals, minimum_effect=ranked.rule.minimum_effect)

    @cached_property
    def faster(self) -> pl.DataFrame:
        """Where a rival is surely faster, most first."""
        return self.rows.filter(pl.col("verdict") == Verdict.BETTER).sort("difference_percent")

    @cached_property
    def undecided(self) -> pl.DataFrame:
        """Where replicates do not say whether a rival is faster."""
        return self.rows.filter(pl.col("verdict") == Verdict.OPEN)

    @cached_property
    def equal(self) -> list[str]:
        """Rivals that are surely within the minimum effect everywhere."""
        by_policy = self.rows.group_by("policy", maintain_order=True).agg((pl.col("verdict") == Verdict.SAME).all())
        return [policy for policy, is_same in by_policy.iter_rows() if is_same]

    @property
    def reservation(self) -> str:
        """Why the best one is not surely the best of all, as the end of a sentence; empty if it is."""
        found = (
            ("surely faster somewhere:", self.faster["policy"].unique(maintain_order=True).to_list()),
            ("not to be told from it everywhere:", self.undecided["policy"].unique(maintain_order=True).to_list()),
            ("as good:", self.equal),
        )
        return "".join(
            f"; {text} {enumerated([f'`{policy}`' for policy in policies], most=_HEADLINE_NAMES_MAX)}"
            for text, policies in found
            if policies
        )

    def points(self) -> Iterator[tuple[str, str]]:
        """Yield who is faster than the best policy somewhere, who is as good, and who can't be told from it where."""
        effect = f"{self.minimum_effect:g} %"
        faster = [
            f"`{policy}` on {listed(group['place'].to_list())} (up to {signed(group['difference_percent'][0])})"
            for (policy,), group in self.faster.group_by("policy", maintain_order=True)
        ]
        if faster:
            yield "Exceptions", f"Surely faster than `{self.best}` are {joined(faster)}."
        elif self.rows["difference_low"].is_not_null().any():
            yield "Exceptions", f"None: nowhere is a policy surely faster than `{self.best}` by more than {effect}."
        if self.equal:
            yield "As good", f"Surely within {effect} of it everywhere: {joined([f'`{one}`' for one in self.equal])}."
        unclear = [
            f"`{policy}` {self._where(group['place'].to_list())}"
            for (policy,), group in self.undecided.group_by("policy", maintain_order=True)
        ]
        if unclear:
            yield "Too close", f"Not to be told from it with these replicates: {joined(unclear)}."

    def _where(self, places: list[str]) -> str:
        return "everywhere" if len(places) == self.rows["place"].n_unique() else f"on {listed(places)}"
