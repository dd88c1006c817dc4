"""The verdict of a run in words: which policy is best, by how much, how sure, and where it is not so.

Every sentence is built from figures of the summary; names stand in backquotes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from results.charts.frames import BASELINE, BOUND, POLICY, RunFrames, names
from results.verdicts import MINIMUM_EFFECT

_NAMES_MAX: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One sentence that answers the question of the sweep, and what has to be said with it."""

    headline: str
    points: tuple[tuple[str, str], ...]
    """What it is about, and the sentence."""
    others: tuple[tuple[str, str], ...] = ()
    """The same for the policies that the question was not decided between."""


def verdict(frames: RunFrames, comparison: pl.DataFrame | None) -> Verdict:
    """Return the verdict of a run; `comparison` holds predictions beside published figures."""
    ranking = frames.ranking(frames.summary)
    roles = [frames.role(policy) for policy in ranking["policy"]]
    ranked = ranking.with_columns(role=pl.Series(roles, dtype=pl.String))
    candidates = ranked.filter(pl.col("role") != BOUND)
    if candidates.height < 2:
        return Verdict(headline="There is nothing to compare: one policy is finished.", points=())
    best = candidates.row(0, named=True)
    points = [
        *_certainty(frames, best),
        *_exceptions(frames, best["policy"]),
        *_bounds(ranked, best),
        *_deaths(frames.summary),
        *_published(comparison),
        ("Prices", _prices(frames)),
    ]
    return Verdict(
        headline=_headline(frames, candidates, best),
        points=tuple(points),
        others=tuple(_others(frames, candidates, best["policy"])),
    )


def _headline(frames: RunFrames, candidates: pl.DataFrame, best: dict[str, Any]) -> str:
    what = _places(frames.summary, best["groups"])
    if best["policy"] == frames.baseline:
        rest = candidates.row(1, named=True)
        return (
            f"Nothing beats the baseline: `{frames.baseline}` is the best of {candidates.height} policies on average "
            f"over {what}; `{rest['policy']}` comes next with {signed(rest['mean'])}."
        )
    spread = "" if best["groups"] == 1 else f", from {signed(best['low'])} to {signed(best['high'])}"
    average = "" if best["groups"] == 1 else " on average over"
    place = f"{average} {what}" if average else f" on {what}"
    return (
        f"`{best['policy']}` is the best of {candidates.height} policies: {signed(best['mean'])} elapsed time against "
        f"`{frames.baseline}`{place}{spread}."
    )


def _certainty(frames: RunFrames, best: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if best["policy"] == frames.baseline:
        return
    rows = frames.summary.filter(pl.col("policy") == best["policy"])
    replicates = sorted(rows["replicates"].unique().to_list())
    if rows["sure"].is_null().all():
        text = "One replicate says nothing about chance: give the sweep more. The differences are those of one trace."
        yield "How sure", text
        return
    sure = rows.filter("sure").height
    count = " to ".join(str(n) for n in dict.fromkeys((replicates[0], replicates[-1])))
    text = (
        f"Its difference is certain {_share(sure, rows.height)}: the 95 % interval lies on one side of zero ({count} "
        "replicates, in which all policies met the same traces)."
    )
    yield "How sure", text


def _exceptions(frames: RunFrames, best: str) -> Iterator[tuple[str, str]]:
    """Yield who beats the best policy somewhere, and who can't be told from it."""
    rows = frames.decorated(frames.against(best)).filter((pl.col("role") == POLICY) | (pl.col("role") == BASELINE))
    rows = rows.filter(pl.col("policy") != best)
    large = pl.col("difference_percent").abs() > MINIMUM_EFFECT
    rows = rows.with_columns(differs=pl.col("sure") & large)
    beaten = rows.filter(pl.col("differs") & (pl.col("difference_percent") < 0)).sort("difference_percent")
    by_policy = [
        f"`{policy}` on {_listed(group['guest'].to_list())} (up to {signed(group['difference_percent'][0])})"
        for (policy,), group in beaten.group_by("policy", maintain_order=True)
    ]
    if by_policy:
        yield "Exceptions", f"Certainly faster than `{best}` are {_joined(by_policy)}."
    elif rows["sure"].is_not_null().any():
        yield (
            "Exceptions",
            f"None: nowhere is a policy certainly faster than `{best}` by more than {MINIMUM_EFFECT:g} %.",
        )
    near = [
        f"`{policy}`"
        for (policy,), group in rows.group_by("policy", maintain_order=True)
        if not group["differs"].fill_null(value=True).any()
    ]
    if near:
        yield "As good", f"Within {MINIMUM_EFFECT:g} % of it, or not to be told from it: {_joined(near)}."


def _others(frames: RunFrames, candidates: pl.DataFrame, best: str) -> Iterator[tuple[str, str]]:
    rest = [row for row in candidates.iter_rows(named=True) if row["policy"] not in {best, frames.baseline}]
    idle = [row for row in rest if row["low"] == 0 == row["high"]]
    faster = [row for row in rest if row["high"] < 0]
    slower = [row for row in rest if row["low"] > 0]
    mixed = [row for row in rest if row not in idle and row not in faster and row not in slower]
    for text, rows in (
        ("Faster everywhere", faster),
        ("Both", mixed),
        ("Slower everywhere", slower),
    ):
        if rows:
            yield text, f"{_joined([_with_range(row) for row in rows])}."
    if idle:
        none = _joined([f"`{row['policy']}`" for row in idle])
        yield "No effect", f"Same time to the nanosecond on every trace: {none}."


def _bounds(ranked: pl.DataFrame, best: dict[str, Any]) -> Iterator[tuple[str, str]]:
    bounds = [row for row in ranked.iter_rows(named=True) if row["role"] == BOUND]
    if not bounds:
        return
    shown = _joined([f"`{row['policy']}` with {signed(row['mean'])}" for row in bounds])
    lowest = bounds[0]
    text = f"What nobody can install, but what shows how much is left: {shown}."
    if lowest["mean"] < best["mean"] < 0:
        text += (
            f" `{best['policy']}` gains {100 * best['mean'] / lowest['mean']:.0f} % of what `{lowest['policy']}` would."
        )
    yield "Bounds", text


def _deaths(summary: pl.DataFrame) -> Iterator[tuple[str, str]]:
    dead = summary.filter(pl.col("fatal") > 0)["policy"].unique(maintain_order=True).to_list()
    if dead:
        yield (
            "Fatal",
            f"The host dies (BUG) under {_joined([f'`{policy}`' for policy in dead])}: times there mean nothing.",
        )


def _published(comparison: pl.DataFrame | None) -> Iterator[tuple[str, str]]:
    """Yield how often predictions and published figures meet."""
    if comparison is None:
        return
    inside = comparison.filter(pl.col("predicted").is_between(pl.col("published_low"), pl.col("published_high")))
    text = (
        f"{inside.height} of {comparison.height} predictions lie inside the 95 % range of what others measured on real "
        "machines; nothing was fitted to it (table below)."
    )
    yield "Published", text


def _prices(frames: RunFrames) -> str:
    model = frames.model
    costs = [*model.shadow, *model.nested]
    assumed = sum(cost.status == "assumption" for cost in costs)
    return (
        f"Times rest on the prices of `{model.name}`, {assumed} of {len(costs)} of them assumptions (sources below). "
        "Trust differences between policies more than seconds."
    )


def signed(value: float | None) -> str:
    """Return a change in % as one reads it: −9.6 %."""
    if value is None:
        return "–"
    digits = 1 if abs(value) >= 0.95 or value == 0 else 2
    return f"{value:+.{digits}f}\u00a0%".replace("-", "−")


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
        return f"{guests} guests"
    return f"{groups} pairs of workload and guest ({workloads} workloads, {guests} guests)"


def _share(part: int, whole: int) -> str:
    if whole == 1:
        return "on the one guest" if part else "not on the one guest"
    if part == whole:
        return "on both guests" if whole == 2 else f"on all {whole} guests"
    return f"on {part} of {whole} guests"


def _listed(guests: Sequence[str]) -> str:
    unique = list(dict.fromkeys(guests))
    return names(unique, most=3)


def _joined(phrases: Sequence[str]) -> str:
    return names(phrases, most=_NAMES_MAX)
