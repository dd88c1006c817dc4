"""The verdict of a run in words: which policy is best, by how much, how sure, and where it is not so.

Every sentence is built from figures and verdicts of the summary, which are those of `sweep compare`; names stand in
backquotes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from results.notices.idle_vcpus import idle_vcpu_notes
from results.ranked_run import YARDSTICK, RankedRun, is_dying
from results.report.phrases import joined, listed, signed
from results.report.rivals import Rivals
from results.statistics.verdicts import DEAD, Verdict
from results.wording import counted

_KINDS: Final = (
    "Faster everywhere",
    "Faster somewhere",
    "Both",
    "Slower somewhere",
    "Slower everywhere",
    "No difference",
    "Not decided",
    "No effect",
)
"""What is sure about a policy against the baseline, in the order in which a reader asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One sentence that answers the question of the sweep, and what has to be said with it."""

    headline: str
    points: tuple[tuple[str, str], ...]
    """What it is about, and the sentence."""
    others: tuple[tuple[str, str], ...] = ()
    """The same for the policies that the question was not decided between."""
    meaning: str = ""
    """What "surely" means in all of them."""


def answer(ranked: RankedRun, comparison: pl.DataFrame | None) -> Answer:
    """Return the answer of a run; `comparison` holds predictions beside published figures."""
    ranking = ranked.ranking(ranked.summary)
    roles = [ranked.role(policy) for policy in ranking["policy"]]
    policies = ranking.with_columns(role=pl.Series(roles, dtype=pl.String))
    candidates = policies.filter(pl.col("role") != YARDSTICK)
    if candidates.height < 2:
        dies = not ranked.summary.filter(is_dying(), pl.col("policy") == ranked.baseline).is_empty()
        return Answer(
            headline=f"Nothing can be compared: the host dies under the baseline `{ranked.baseline}`."
            if dies
            else "There is nothing to compare: one policy is finished.",
            points=tuple(_deaths(ranked)),
        )
    best = candidates.row(0, named=True)
    found = _verdicts(ranked.summary)
    rivals = Rivals.of(ranked, best["policy"])
    points = [
        *_certainty(ranked, best, found),
        *rivals.points(),
        *_yardsticks(ranked, policies, best),
        *_deaths(ranked),
        *_idle_vcpus(ranked),
        *_published(comparison),
        ("Prices", _prices(ranked)),
    ]
    return Answer(
        headline=_headline(ranked, candidates, rivals, found),
        points=tuple(points),
        others=tuple(_others(ranked, candidates, best["policy"], found)),
        meaning=_meaning(ranked),
    )


def _verdicts(summary: pl.DataFrame) -> dict[str, set[str]]:
    """Return which verdicts each policy has on the guests."""
    judged = summary.filter(~pl.col("verdict").is_in(DEAD))
    by_policy = judged.group_by("policy").agg(pl.col("verdict").drop_nulls().unique())
    return {policy: set(verdicts) for policy, verdicts in by_policy.iter_rows()}


def _headline(ranked: RankedRun, candidates: pl.DataFrame, rivals: Rivals, found: Mapping[str, set[str]]) -> str:
    best = candidates.row(0, named=True)
    what = _places(ranked.summary, best["groups"])
    over = f"on {what}" if best["groups"] == 1 else f"on average over {what}"
    if best["policy"] == ranked.baseline:
        rest = candidates.row(1, named=True)
        return (
            f"No policy is faster than the baseline `{ranked.baseline}` {over}; `{rest['policy']}` comes next with "
            f"{signed(rest['mean'])}{rivals.reservation}."
        )
    change = f"{signed(best['mean'])} elapsed time against `{ranked.baseline}`"
    spread = "" if best["groups"] == 1 else f", from {signed(best['low'])} to {signed(best['high'])}"
    rivalry = counted(candidates.height, "policy", "policies")
    first = f"comes first of {rivalry}"
    if Verdict.BETTER not in found[best["policy"]]:
        return f"No gain is sure: `{best['policy']}` {first} with {change} {over}{spread}."
    if rivals.reservation:
        return f"`{best['policy']}` {first}: {change} {over}{spread}{rivals.reservation}."
    return f"`{best['policy']}` is the best of {rivalry}: {change} {over}{spread}."


def _certainty(ranked: RankedRun, best: Mapping[str, Any], found: Mapping[str, set[str]]) -> Iterator[tuple[str, str]]:
    policy = best["policy"]
    if policy == ranked.baseline:
        return
    rows = ranked.summary.filter(pl.col("policy") == policy)
    if rows["difference_low"].is_null().all():
        text = "One replicate says nothing about chance: give the sweep more. The differences are those of one trace."
        yield "How sure", text
        return
    counts = rows["replicates"].unique().sort().to_list()
    count = " to ".join(str(number) for number in dict.fromkeys((counts[0], counts[-1])))
    words = {
        Verdict.BETTER: "surely better",
        Verdict.WORSE: "surely worse",
        Verdict.SAME: f"surely within {ranked.rule.minimum_effect:g} %",
        Verdict.OPEN: "not decided",
    }
    places = [
        f"{text} {_share(rows.filter(pl.col('verdict') == verdict).height, ranked.summary)}"
        for verdict, text in words.items()
        if verdict in found[policy]
    ]
    yield "How sure", f"It is {joined(places)} ({count} replicates, in which all policies met the same traces)."


def _others(
    ranked: RankedRun, candidates: pl.DataFrame, best: str, found: Mapping[str, set[str]]
) -> Iterator[tuple[str, str]]:
    """Yield what is sure about the other policies against the baseline, those of one kind together."""
    kinds: dict[str, list[dict[str, Any]]] = {kind: [] for kind in _KINDS}
    for row in candidates.iter_rows(named=True):
        if row["policy"] not in {best, ranked.baseline}:
            idle = row["low"] == 0 == row["high"]
            kinds["No effect" if idle else _kind(found[row["policy"]])].append(row)
    for kind, rows in kinds.items():
        if rows and kind == "No effect":
            same = [f"`{row['policy']}`" for row in rows]
            yield kind, f"The same time everywhere: {joined(same)}."
        elif rows:
            yield kind, f"{joined([_with_range(row) for row in rows])}."


def _kind(verdicts: set[str]) -> str:
    better, worse = Verdict.BETTER in verdicts, Verdict.WORSE in verdicts
    if better and worse:
        return "Both"
    if better or worse:
        place = "everywhere" if len(verdicts) == 1 else "somewhere"
        return f"{'Faster' if better else 'Slower'} {place}"
    return "No difference" if verdicts == {Verdict.SAME} else "Not decided"


def _meaning(ranked: RankedRun) -> str:
    """Return what a verdict of this page claims, and with which error."""
    rule = ranked.rule
    count = ranked.summary.filter(~pl.col("verdict").is_in([Verdict.BASELINE, *DEAD])).height
    error = f"{100 * (1.0 - rule.confidence):.3g} %"
    looks = "" if rule.looks == 1 else f" and for {rule.looks} looks at a growing number of replicates"
    return (
        f"“Surely” better or worse means by more than {rule.minimum_effect:g} % of the other policy’s time. The chance "
        f"that any of the {count:,} verdicts against `{ranked.baseline}` is wrong is at most {error}: paired t tests, "
        f"corrected by Holm’s rule for all of them{looks}, as in `sweep compare`. Verdicts against the best policy "
        "are a second such family. Intervals are those of one difference alone."
    )


def _yardsticks(ranked: RankedRun, policies: pl.DataFrame, best: dict[str, Any]) -> Iterator[tuple[str, str]]:
    found = [row for row in policies.iter_rows(named=True) if row["role"] == YARDSTICK]
    if not found:
        return
    shown = joined([f"`{row['policy']}` with {signed(row['mean'])}" for row in found])
    lowest = found[0]
    text = f"What nobody can install, to measure the others by: {shown}."
    if lowest["mean"] < best["mean"] < 0:
        text += (
            f" `{best['policy']}` gains {100 * best['mean'] / lowest['mean']:.0f} % of what `{lowest['policy']}` would."
        )
    if any(ranked.run.knobs[row["policy"]].get("oracle") for row in found):
        text += " An oracle decides about page tables with foresight; that is no bound on time."
    yield "Yardsticks", text


def _deaths(ranked: RankedRun) -> Iterator[tuple[str, str]]:
    dead = ranked.summary.filter(is_dying()).group_by("policy", maintain_order=True).agg("workload", "guest")
    if dead.is_empty():
        return
    several = ranked.summary["workload"].n_unique() > 1
    who = [
        f"`{policy}` on {listed([f'{w} on {g}' if several else g for w, g in zip(workloads, guests, strict=True)])}"
        for policy, workloads, guests in dead.iter_rows()
    ]
    text = f"The host dies (BUG) under {joined(who)}: there are no times for them there, and no rank for them at all."
    if ranked.baseline in dead["policy"]:
        text += f" Where it dies under the baseline `{ranked.baseline}`, nothing can be compared."
    yield "Fatal", text


def _idle_vcpus(ranked: RankedRun) -> Iterator[tuple[str, str]]:
    notes = idle_vcpu_notes(ranked.run, ranked.costs, ranked.summary)
    if notes:
        yield "Idle vCPUs", f"{joined(notes)}."


def _published(comparison: pl.DataFrame | None) -> Iterator[tuple[str, str]]:
    """Yield how often predictions and published figures meet."""
    if comparison is None:
        return
    is_inside = pl.col("predicted").is_between(pl.col("published_low"), pl.col("published_high"))
    counted = comparison.group_by("comparison", maintain_order=True).agg(is_inside.sum().alias("inside"), pl.len())
    shares = [f"{inside} of {count} of {name.replace('->', 'to')}" for name, inside, count in counted.iter_rows()]
    text = (
        f"Of the predictions, {joined(shares)} lie inside the 95 % range of what others measured on real machines; "
        "nothing was fitted to it (table below)."
    )
    yield "Published", text


def _prices(ranked: RankedRun) -> str:
    model = ranked.costs
    costs = [*model.shadow, *model.nested]
    assumed = sum(cost.status == "assumption" for cost in costs)
    return (
        f"Times rest on the prices of `{model.name}`, {assumed} of {len(costs)} of them assumptions (sources below). "
        "Trust differences between policies more than seconds."
    )


def _with_range(row: dict[str, Any]) -> str:
    if row["groups"] == 1 or round(row["low"], 1) == round(row["high"], 1):
        return f"`{row['policy']}` ({signed(row['mean'])})"
    return f"`{row['policy']}` ({signed(row['mean'])}; {signed(row['low'])} to {signed(row['high'])})"


def _places(summary: pl.DataFrame, groups: int) -> str:
    workloads = summary["workload"].n_unique()
    guests = summary["guest"].n_unique()
    if groups == 1:
        first = summary.row(0, named=True)
        return f"{first['workload']} on {first['guest']}"
    if workloads == 1:
        return counted(groups, "guest") if groups == guests else f"{groups} of {counted(guests, 'guest')}"
    return f"{groups} pairs of workload and guest ({counted(workloads, 'workload')}, {counted(guests, 'guest')})"


def _share(part: int, summary: pl.DataFrame) -> str:
    """Return on how many of the guests something is so."""
    whole = summary.select("workload", "guest").n_unique()
    noun = "guests" if summary["workload"].n_unique() == 1 else "pairs of workload and guest"
    if part < whole:
        return f"on {part} of {whole} {noun}"
    return {1: "on the one guest", 2: f"on both {noun}"}.get(whole, f"on all {whole} {noun}")
