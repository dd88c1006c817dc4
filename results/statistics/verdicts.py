"""Verdicts on differences: better, worse, no difference, or not enough replicates; corrected for looking at many.

The scale of differences is cut into three at plus and minus the minimum effect. A verdict says in which part the true
difference lies; it is given where an interval, widened for the number of comparisons and of looks, lies in one part.

A policy under which the host dies (BUG_ON) has no time, and so no difference: what was counted after that never
happened. It gets a verdict of its own and no number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from results.statistics.moments import CONFIDENCE
from results.statistics.student_t import Counts, Floats, t_half_width, t_tail
from results.wording import counted

MINIMUM_EFFECT: Final = 0.5
"""Difference in % that is worth acting upon (assumption): below the 0.8 and 1.7 % by which published builds vary."""
EQUAL_PERCENT: Final = 1e-9
"""Up to so many % apart differences are equal: rounding of doubles, far below 1 ns in a run of minutes."""


class Verdict(StrEnum):
    """What can be said of one difference to the baseline."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "no difference"
    OPEN = "not enough replicates"
    BASELINE = "baseline"
    DIES = "dies"
    """The host dies under the policy in one replicate or more: what was counted after that never happened."""
    BASELINE_DIES = "baseline dies"
    """There is nothing to compare with."""


VERDICTS: Final = tuple(Verdict)
DEAD: Final = (Verdict.DIES, Verdict.BASELINE_DIES)
"""Verdicts that come without a difference."""
DEATH_PLACE: Final = ("policy", "workload", "guest")
_PLACES_NAMED: Final = 3
_CODE: Final = {verdict: code for code, verdict in enumerate(VERDICTS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When a difference counts, and how sure a verdict must be."""

    minimum_effect: float = MINIMUM_EFFECT
    """Differences up to this, in %, are no difference."""
    confidence: float = CONFIDENCE
    looks: int = 1
    """How often the replicates may be looked at before they are enough; 1 if their number was fixed beforehand."""
    lower_is_better: bool = True

    @property
    def error(self) -> float:
        """The chance that an interval misses: what confidence leaves, shared among the looks."""
        return (1.0 - self.confidence) / self.looks


PLAIN_RULE: Final = Rule()
"""How differences are judged where nothing else is said: a fixed number of replicates, 95 % sure, beyond 0.5 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Per comparison: half the width of its interval, its p-value alone and by Holm, and the code of its verdict."""

    half_width: Floats
    p_value: Floats
    p_holm: Floats
    code: npt.NDArray[np.uint8]


def judge(mean: Floats, deviation: Floats, counts: Counts, rule: Rule) -> Judgement:
    """Judge differences in %, given by mean, standard deviation and number of replicates.

    Arrays may have any shape: the last axis is the family over which Holm corrects. A mean that is no number is left
    open, and so is one replicate; neither belongs to the family.
    """
    testable = (np.asarray(counts) > 1) & np.isfinite(mean)
    spread = np.where(testable & (deviation > EQUAL_PERCENT), deviation, 0.0)
    beyond = np.where(testable, np.abs(mean) - rule.minimum_effect, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.abs(beyond) * np.sqrt(counts) / spread
    # Without spread the differences are what they are, however small the distance to the minimum effect.
    statistic = np.where(testable & (spread == 0.0), np.inf, np.nan_to_num(statistic, nan=0.0, posinf=np.inf))
    tail = t_tail(statistic, np.maximum(np.asarray(counts) - 1.0, 1.0))
    p_value = np.where(testable, np.minimum(1.0, 2.0 * rule.looks * tail), 1.0)
    p_holm = holm(p_value, testable)
    gain = mean < 0 if rule.lower_is_better else mean > 0
    claim = np.where(beyond > 0, np.where(gain, _CODE[Verdict.BETTER], _CODE[Verdict.WORSE]), _CODE[Verdict.SAME])
    sure = testable & (p_holm <= 1.0 - rule.confidence)
    return Judgement(
        half_width=t_half_width(np.where(testable, spread, np.inf), counts, error=rule.error),
        p_value=p_value,
        p_holm=p_holm,
        code=np.where(sure, claim, _CODE[Verdict.OPEN]).astype(np.uint8),
    )


def holm(p_values: Floats, members: npt.NDArray[np.bool_] | None = None) -> Floats:
    """Return p-values that stay valid for the whole family along the last axis; others than `members` become 1.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979.
    """
    inside = np.ones(p_values.shape, dtype=np.bool_) if members is None else members
    ranked = np.where(inside, p_values, np.inf)
    order = np.argsort(ranked, axis=-1, kind="stable")
    left = np.maximum(inside.sum(axis=-1, keepdims=True) - np.arange(p_values.shape[-1]), 1)
    scaled = np.minimum(1.0, np.take_along_axis(ranked, order, axis=-1) * left)
    corrected: Floats = np.empty_like(scaled)
    np.put_along_axis(corrected, order, np.maximum.accumulate(scaled, axis=-1), axis=-1)
    return corrected


def verdict_columns(
    groups: pl.DataFrame,
    rule: Rule,
    *,
    baseline: pl.Expr | None = None,
    dies: pl.Expr | None = None,
    baseline_dies: pl.Expr | None = None,
) -> pl.DataFrame:
    """Return `groups`, one comparison per row, with low, high, p_value, p_holm and verdict.

    Where somebody dies, the mean and the deviation become null as well.

    Args:
        groups: has the columns `mean` and `deviation` of the differences in %, and `count` of replicates; all rows
            together are the family over which Holm corrects.
        rule: what counts as a difference.
        baseline: which rows are the baseline itself, and so no comparison.
        dies: in which rows the host dies under the policy; those are no comparisons either.
        baseline_dies: in which rows it dies under what the policy is compared with.
    """
    is_baseline, is_dead, is_alone = (_flags(groups, which) for which in (baseline, dies, baseline_dies))
    nothing = pl.Series(is_dead | is_alone)
    groups = groups.with_columns(pl.when(~nothing).then(pl.col("mean", "deviation")))
    mean = groups["mean"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    found = judge(
        np.where(is_baseline, np.nan, mean),
        groups["deviation"].cast(pl.Float64).fill_null(0.0).to_numpy(),
        groups["count"].cast(pl.Int64).to_numpy(),
        rule,
    )
    half = np.where(is_baseline, 0.0, found.half_width)
    code = np.where(is_baseline, _CODE[Verdict.BASELINE], found.code)
    code = np.where(is_alone, _CODE[Verdict.BASELINE_DIES], code)
    code = np.where(is_dead, _CODE[Verdict.DIES], code)
    known = np.isfinite(half) & np.isfinite(mean)
    return groups.with_columns(
        low=numbers_where(known, mean - half),
        high=numbers_where(known, mean + half),
        p_value=numbers_where(known & ~is_baseline, found.p_value),
        p_holm=numbers_where(known & ~is_baseline, found.p_holm),
        verdict=verdict_words(code),
    )


def _flags(groups: pl.DataFrame, which: pl.Expr | None) -> npt.NDArray[np.bool_]:
    flags = pl.lit(False) if which is None else which.fill_null(value=False)
    return groups.select(pl.repeat(True, pl.len()) & flags).to_series().to_numpy()


def relative_difference(value: str, baseline: str) -> pl.Expr:
    """Return by how many % one column differs from another: 0 for equal values, null for anything against nothing."""
    base = pl.col(baseline)
    change = 100.0 * (pl.col(value) / base - 1.0)
    return pl.when(pl.col(value) == base).then(0.0).otherwise(pl.when(base != 0).then(change))


def numbers_where(known: npt.NDArray[np.bool_], values: Floats) -> pl.Series:
    """Return numbers as a column, null where they are not known."""
    return pl.select(pl.when(pl.Series(known)).then(pl.Series(values))).to_series()


def verdict_words(codes: npt.NDArray[np.uint8]) -> pl.Series:
    """Return the verdicts that codes of a judgement stand for."""
    return pl.Series(np.array([str(verdict) for verdict in VERDICTS], dtype=np.object_)[codes], dtype=pl.String)


def deaths_of(cells: pl.LazyFrame) -> pl.DataFrame:
    """Return policy, workload, guest, `dies` and `replicates` of each place in which the host dies, by name."""
    dying = cells.filter(pl.col("fatal") > 0).select(DEATH_PLACE).unique().collect(engine="streaming")
    if dying.is_empty():
        return counted_deaths(dying.with_columns(dies=pl.lit(value=True)), DEATH_PLACE)
    places = [pl.col(name).is_in(dying[name].unique().implode()) for name in DEATH_PLACE]
    found = cells.filter(*places).select(*DEATH_PLACE, dies=pl.col("fatal") > 0)
    return counted_deaths(found.collect(engine="streaming"), DEATH_PLACE)


def counted_deaths(cells: pl.DataFrame, place: Sequence[str]) -> pl.DataFrame:
    """Return, per place in which a cell `dies`, how many do and how many there are."""
    counted = cells.group_by(place).agg(dies=pl.col("dies").sum().cast(pl.Int64), replicates=pl.len().cast(pl.Int64))
    return counted.filter(pl.col("dies") > 0).sort(place)


def death_found(row: Mapping[str, Any]) -> str:
    """Return in how many replicates of a place the host dies."""
    return f"the host dies in {row['dies']} of {counted(row['replicates'], 'replicate')}"


def death_sentences(deaths: pl.DataFrame) -> list[str]:
    """Return a sentence per policy under which the host dies, with the first places of it."""
    sentences = []
    for (policy,), rows in deaths.group_by("policy", maintain_order=True):
        places = [
            f"{row['workload']} on {row['guest']} ({row['dies']} of {counted(row['replicates'], 'replicate')})"
            for row in rows.iter_rows(named=True)
        ]
        more = len(places) - _PLACES_NAMED
        named = "; ".join(places[:_PLACES_NAMED]) + (f"; and {more} more" if more > 0 else "")
        sentences.append(f"the host dies under {policy}: {named}. There are no numbers for it there")
    return sentences
