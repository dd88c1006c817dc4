"""Summaries of a run: per guest and workload one row per policy, and the predictions beside what was published."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import polars as pl

from results.cost_model import CostModel
from results.labels import LabelledRun
from results.pairing import check_baseline, pair_with
from results.pricing import price_cells
from results.published import SEED_KERNBENCH, SHADOW_OVER_NESTED
from results.statistics import difference_moments, interval_columns
from results.verdicts import PLAIN_RULE, Rule, relative_difference, verdict_columns

GROUP: Final = ("workload", "guest", "vcpus", "memory_mib")
COUNTS: Final = (
    "exits",
    "insn_emulation",
    "mmu_flooded",
    "mmu_shadow_zapped",
    "fatal",
)
"""Counters that a summary shows, as means over replicates."""
_POLICY: Final = (*GROUP, "policy")
_TEXTS: Final = ("workload", "guest", "policy")
_CELL: Final = (*_POLICY, "replicate", "trace_digest")
_TIMES: Final = ("elapsed_ns", "native_ns", "lock_wait_ns")


class Tables(Protocol):
    """What a summary reads: a run's store, or two LazyFrames with these names."""

    def scan_cells(self) -> pl.LazyFrame:
        """Return the table of cells."""
        ...

    def scan_windows(self) -> pl.LazyFrame:
        """Return the table of windows."""
        ...


def price_run(tables: Tables, cost_model: CostModel) -> pl.DataFrame:
    """Return one row per cell: identity, times (`results.pricing`) and the counters that a summary shows."""
    counts = tables.scan_cells().select("cell_id", *COUNTS)
    priced = price_cells(tables.scan_windows(), cost_model)
    return priced.join(counts, on="cell_id").sort(*GROUP, "policy", "replicate").collect(engine="streaming")


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedCells:
    """What a summary needs of the cells, and no more: for ten million of them it takes less than a gigabyte."""

    sums: pl.DataFrame
    """Per workload, guest and policy: sums of times and counts, and the number of cells as `replicates`."""
    times: pl.DataFrame
    """Per cell: which one it is, its trace, and its elapsed time; texts are categorical."""


def priced_cells(run: LabelledRun, cost_model: CostModel) -> PricedCells | None:
    """Price the windows of a run, some files at a time; None if it has no cell yet."""
    sums, times = [], []
    for piece in run.pieces("windows"):
        cells = price_cells(piece, cost_model, keys=_CELL, prices=_TIMES).collect(engine="streaming")
        sums.append(cells.group_by(_POLICY).agg(pl.col(_TIMES).sum(), replicates=pl.len()))
        times.append(_times(cells))
    counts = [
        piece.group_by(_POLICY).agg(pl.col(COUNTS).sum()).collect(engine="streaming") for piece in run.pieces("cells")
    ]
    if not sums or not counts:
        return None
    joined = _added(sums).join(_added(counts), on=_POLICY, how="left")
    # Sums of doubles, and so the digits of intervals, must not depend on the order in which threads have ended.
    return PricedCells(sums=joined.sort(_POLICY), times=pl.concat(times).sort(_CELL)) if joined.height else None


def _times(cells: pl.DataFrame) -> pl.DataFrame:
    texts = pl.col("workload", "guest", "policy", "trace_digest")
    return cells.select(*_CELL, "elapsed_ns").with_columns(texts.cast(pl.Categorical))


def _added(sums: Sequence[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(sums).group_by(_POLICY).agg(pl.exclude(_POLICY).sum())


def summarize(
    tables: Tables,
    cost_model: CostModel,
    baseline: str,
    *,
    policies: Sequence[str] = (),
    rule: Rule = PLAIN_RULE,
) -> pl.DataFrame:
    """Return one row per workload, guest and policy; see `summarize_priced`."""
    return summarize_cells(price_run(tables, cost_model), baseline, policies=policies, rule=rule)


def summarize_cells(
    cells: pl.DataFrame, baseline: str, *, policies: Sequence[str] = (), rule: Rule = PLAIN_RULE
) -> pl.DataFrame:
    """Return what `summarize_priced` does, of cells as `price_run` gives them."""
    sums = cells.group_by(_POLICY).agg(pl.col(*_TIMES, *COUNTS).sum(), replicates=pl.len())
    return summarize_priced(PricedCells(sums=sums, times=_times(cells)), baseline, policies=policies, rule=rule)


def summarize_priced(
    cells: PricedCells, baseline: str, *, policies: Sequence[str] = (), rule: Rule = PLAIN_RULE
) -> pl.DataFrame:
    """Return mean times and counts per workload, guest and policy, and the difference to `baseline` in %.

    The difference is paired by replicate and has an interval (null where there is one replicate only) and a verdict by
    `rule`, whose family is all differences of the summary. Policies come in the order of `policies`, others by name.

    Raises:
        ComparisonError: no cell has the baseline, or a pair of cells met different traces.
    """
    found = cells.sums["policy"].unique().sort().to_list()
    check_baseline(baseline, found)
    count = pl.col("replicates")
    seconds = {name.replace("_ns", "_s"): pl.col(name) / count / 1e9 for name in _TIMES}
    means = cells.sums.select(*_POLICY, *[pl.col(counter) / count for counter in COUNTS], count, **seconds)
    paired = pair_with(cells.times, baseline, ("elapsed_ns",)).with_columns(
        difference=relative_difference("elapsed_ns", "elapsed_ns_baseline"),
    )
    moments = difference_moments(paired, "difference", _POLICY)
    differences = verdict_columns(moments, rule, baseline=pl.col("policy") == baseline).select(
        *[pl.col(name).cast(pl.String) if name in _TEXTS else name for name in _POLICY],
        "p_holm",
        "verdict",
        difference_percent="mean",
        difference_low="low",
        difference_high="high",
    )
    rank = {policy: index for index, policy in enumerate([*policies, *(p for p in found if p not in policies)])}
    order = pl.col("policy").replace_strict(rank, return_dtype=pl.Int64)
    joined = means.join(differences, on=_POLICY, how="left").sort(*GROUP, order)
    differences_there = ("difference_percent", "difference_low", "difference_high", "p_holm", "verdict")
    front = [*_POLICY, "replicates", "native_s", "elapsed_s", *differences_there]
    return joined.select(*front, *COUNTS, "lock_wait_s")


def seed_comparison(
    cells: pl.DataFrame,
    *,
    before: str = "kvm-3.0",
    after: Sequence[str] = ("xiao-v1", "kvm-3.3"),
    nested: str = "tdp",
) -> pl.DataFrame:
    """Return predictions of what was published, per workload and guest, beside the published numbers.

    Changes from `before` to each of `after` are in %, the ratio of `before` to `nested` is a number; both are paired
    by replicate. Comparisons whose policies are not in the run are left out.
    """
    change = SEED_KERNBENCH.change_percent()
    ratio = SHADOW_OVER_NESTED
    rows = []
    for policy in after:
        paired = pair_with(cells.filter(pl.col("policy").is_in([before, policy])), before, ("elapsed_ns",))
        value = relative_difference("elapsed_ns", "elapsed_ns_baseline")
        published = (change.mean, change.low, change.high, SEED_KERNBENCH.source)
        rows.append(_predicted(paired, policy, value, f"{before} -> {policy}", "%", published))
    paired = pair_with(cells.filter(pl.col("policy").is_in([before, nested])), nested, ("elapsed_ns",))
    value = pl.col("elapsed_ns") / pl.col("elapsed_ns_baseline")
    rows.append(
        _predicted(
            paired, before, value, f"{before} / {nested}", "x", (ratio.ratio, ratio.low, ratio.high, ratio.source)
        ),
    )
    return pl.concat(rows)


def _predicted(
    paired: pl.DataFrame,
    policy: str,
    value: pl.Expr,
    comparison: str,
    unit: str,
    published: tuple[float, float | None, float | None, str],
) -> pl.DataFrame:
    values = paired.filter(pl.col("policy") == policy).with_columns(value=value)
    predicted = interval_columns(values, "value", GROUP).sort(*GROUP)
    mean, low, high, source = published
    return predicted.select(
        *GROUP,
        comparison=pl.lit(comparison),
        unit=pl.lit(unit),
        predicted="mean",
        predicted_low="low",
        predicted_high="high",
        replicates="count",
        published=pl.lit(mean),
        published_low=pl.lit(low, dtype=pl.Float64),
        published_high=pl.lit(high, dtype=pl.Float64),
        source=pl.lit(source),
    )
