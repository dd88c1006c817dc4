"""What uncertain costs do to conclusions: an interval of each difference, how often its verdict stays, who decides.

Replicates and costs are two sources of doubt and stay apart: an interval over replicates says what other draws of
processes would change at these prices, an interval over costs says what other prices would change for these draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from results.prices.repricing import Repricer
from results.prices.sampling import Parameter, draw, one_at_a_time, point
from results.statistics.pairing import check_baseline, pair_with
from results.statistics.student_t import Floats
from results.statistics.verdicts import (
    DEAD,
    EQUAL_PERCENT,
    VERDICTS,
    Judgement,
    Rule,
    Verdict,
    judge,
    numbers_where,
    verdict_words,
)
from results.summary import GROUP

_BLOCK_SAMPLES: Final = 128
_COMPARISON: Final = ("workload", "guest", "policy")
_SHARES: Final = {
    "share_better": Verdict.BETTER,
    "share_worse": Verdict.WORSE,
    "share_same": Verdict.SAME,
    "share_open": Verdict.OPEN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRows:
    """Which cells are compared: rows of the repriced cells, sorted by comparison, and where each comparison starts."""

    comparisons: pl.DataFrame
    dead: pl.DataFrame
    """Those without a number, each with its verdict: the host dies in one of their cells."""
    order: pl.DataFrame
    """Workload, guest and policy of all, in the order in which they are shown."""
    ours: npt.NDArray[np.int64]
    theirs: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """The two tables of `sweep price`: one row per comparison, and one per comparison and uncertain number.

    Where the host dies a comparison has a verdict and no number, and no row in the second table.
    """

    conclusions: pl.DataFrame
    tornado: pl.DataFrame


def pair_rows(cells: pl.DataFrame, baseline: str, policies: Sequence[str] = ()) -> PairRows:
    """Return the pairs of rows of each policy with the baseline; policies in the given order, others by name.

    Raises:
        ComparisonError: no cell has the baseline, or a pair of cells met different traces.
    """
    found = sorted(set(cells["policy"]))
    check_baseline(baseline, found)
    known = [*policies, *(policy for policy in found if policy not in policies)]
    rank = {policy: place for place, policy in enumerate(known)}
    rows = pair_with(cells.with_row_index("row"), baseline, ("row", "dies")).filter(pl.col("policy") != baseline)
    rows = rows.sort("workload", "vcpus", "memory_mib", "guest", pl.col("policy").replace_strict(rank), "replicate")
    groups = rows.group_by(*GROUP, "policy", maintain_order=True).agg(
        replicates=pl.len().cast(pl.Int64), verdict=_death_verdict()
    )
    living = groups.filter(pl.col("verdict").is_null()).drop("verdict")
    rows = rows.join(living, on=_COMPARISON, how="semi", maintain_order="left")
    counts = living["replicates"].to_numpy()
    return PairRows(
        comparisons=living,
        dead=groups.filter(pl.col("verdict").is_not_null()),
        order=groups.select(_COMPARISON),
        ours=rows["row"].to_numpy().astype(np.int64),
        theirs=rows["row_baseline"].to_numpy().astype(np.int64),
        first=np.cumsum(counts) - counts,
        counts=counts,
    )


def _death_verdict() -> pl.Expr:
    """Return the verdict of a comparison in which the host dies; null for others."""
    words = [(name, pl.lit(str(verdict))) for name, verdict in zip(("dies", "dies_baseline"), DEAD, strict=True)]
    return pl.coalesce(pl.when(pl.col(name).any()).then(word) for name, word in words)


def doubt(
    repricer: Repricer, numbers: tuple[Parameter, ...], pairs: PairRows, *, rule: Rule, samples: int = 0, seed: int = 0
) -> Doubt:
    """Return what is concluded at the model's own numbers, and what becomes of it within their ranges.

    With `samples` all numbers vary at once, drawn with `seed`; each alone goes to both its ends in any case.
    """
    mean, judged = _judged(repricer, pairs, point(numbers), rule)
    has_bounds = np.isfinite(mean[0] + judged.half_width[0])
    conclusions = pairs.comparisons.with_columns(
        difference_percent=mean[0],
        difference_low=numbers_where(has_bounds, mean[0] - judged.half_width[0]),
        difference_high=numbers_where(has_bounds, mean[0] + judged.half_width[0]),
        p_holm=judged.p_holm[0],
        verdict=verdict_words(judged.code[0]),
    )
    uncertain, ends = one_at_a_time(numbers)
    tornado = _tornado(conclusions, uncertain, *_outcomes(repricer, pairs, ends, rule), verdict=judged.code[0])
    conclusions = conclusions.join(_decisive(tornado), on=_COMPARISON, how="left", maintain_order="left")
    if samples:
        drawn = draw(numbers, count=samples, seed=seed)
        conclusions = _with_samples(conclusions, *_outcomes(repricer, pairs, drawn, rule), verdict=judged.code[0])
    every = pl.concat([conclusions, pairs.dead], how="diagonal")
    return Doubt(
        conclusions=pairs.order.join(every, on=_COMPARISON, maintain_order="left").select(every.columns),
        tornado=tornado,
    )


def _judged(repricer: Repricer, pairs: PairRows, samples: Floats, rule: Rule) -> tuple[Floats, Judgement]:
    """Return the mean differences in %, samples by comparisons, and what is said of them."""
    elapsed = repricer.elapsed_ns(samples)
    differences = 100.0 * (elapsed[pairs.ours] / elapsed[pairs.theirs] - 1.0)
    counts = pairs.counts[:, None]
    mean = np.add.reduceat(differences, pairs.first, axis=0) / counts
    centred = np.square(differences - np.repeat(mean, pairs.counts, axis=0))
    deviation = np.sqrt(np.add.reduceat(centred, pairs.first, axis=0) / np.maximum(counts - 1, 1))
    return mean.T, judge(mean.T, deviation.T, np.broadcast_to(pairs.counts, mean.T.shape), rule)


def _outcomes(repricer: Repricer, pairs: PairRows, samples: Floats, rule: Rule) -> tuple[Floats, npt.NDArray[np.uint8]]:
    """Return mean differences and codes of verdicts, samples by comparisons; blocks of samples bound the memory."""
    means = np.empty((samples.shape[0], pairs.counts.size))
    codes = np.empty(means.shape, dtype=np.uint8)
    for start in range(0, samples.shape[0], _BLOCK_SAMPLES):
        block = slice(start, start + _BLOCK_SAMPLES)
        means[block], judged = _judged(repricer, pairs, samples[block], rule)
        codes[block] = judged.code
    return means, codes


def _with_samples(
    conclusions: pl.DataFrame, means: Floats, codes: npt.NDArray[np.uint8], *, verdict: npt.NDArray[np.uint8]
) -> pl.DataFrame:
    low, high = np.quantile(means, (0.025, 0.975), axis=0)
    shares = {name: np.mean(codes == VERDICTS.index(kind), axis=0) for name, kind in _SHARES.items()}
    return conclusions.with_columns(
        cost_low=low,
        cost_high=high,
        verdict_stays=np.mean(codes == verdict, axis=0),
        **{name: pl.Series(share) for name, share in shares.items()},
    )


def _tornado(
    conclusions: pl.DataFrame,
    numbers: Sequence[Parameter],
    means: Floats,
    codes: npt.NDArray[np.uint8],
    *,
    verdict: npt.NDArray[np.uint8],
) -> pl.DataFrame:
    """Return a row per number and comparison: the difference and the verdict at either end of the range."""
    columns = {"cost": pl.String, "low": pl.Float64, "value": pl.Float64, "high": pl.Float64}
    costs = pl.DataFrame([(one.name, one.low, one.value, one.high) for one in numbers], schema=columns, orient="row")
    # Rows of `means` and `codes` are the low and the high end of one number after the other.
    ends = {"low": slice(0, None, 2), "high": slice(1, None, 2)}
    low, high = (means[end] for end in ends.values())
    return costs.join(
        conclusions.select(*_COMPARISON, "difference_percent", "verdict"), how="cross", maintain_order="left_right"
    ).with_columns(
        **{f"difference_at_{name}": pl.Series(means[end].ravel()) for name, end in ends.items()},
        **{f"verdict_at_{name}": verdict_words(codes[end].ravel()) for name, end in ends.items()},
        change=pl.Series(_moved(low, high).ravel()),
        decides=pl.Series(np.any([codes[end] != verdict for end in ends.values()], axis=0).ravel()),
    )


def _moved(low: Floats, high: Floats) -> Floats:
    """Return how far apart differences are; what is but rounding has not moved."""
    distance = np.abs(high - low)
    return np.where(distance > EQUAL_PERCENT, distance, 0.0)


def _decisive(tornado: pl.DataFrame) -> pl.DataFrame:
    """Return for each comparison the number that moves its difference most, if one does, and those that decide it."""
    ranked = tornado.sort("change", descending=True, maintain_order=True)
    return ranked.group_by(_COMPARISON, maintain_order=True).agg(
        moved_most_by=pl.col("cost").filter(pl.col("change") > 0).first(),
        moved_percent=pl.col("change").first(),
        decided_by=pl.col("cost").filter(pl.col("decides")).str.join(", "),
    )
