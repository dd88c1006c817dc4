"""Summaries of a run: per guest and workload one row per policy, and the predictions beside what was published."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from results.prices.cost_model import CostModel
from results.prices.pricing import price_cells, price_inputs, price_windows
from results.published import SEED_KERNBENCH, SHADOW_OVER_NESTED
from results.statistics.moments import interval_columns
from results.statistics.pairing import PLACE, ComparisonError, check_baseline, pair_with
from results.statistics.verdicts import PLAIN_RULE, Rule, Verdict, relative_difference, verdict_columns
from results.store.labels import LabelledRun

GROUP: Final = ("workload", "guest", "vcpus", "memory_mib")
"""What the rows of a summary have in common beside the policy."""
TRACE: Final = (*GROUP, "replicate", "trace_digest")
COUNTS: Final = ("exits", "insn_emulation", "mmu_flooded", "mmu_shadow_zapped", "fatal")
"""Counters that a summary shows, as means over replicates."""
PUBLISHED_POLICIES: Final = ("kvm-3.0", "xiao-v1", "kvm-3.3", "tdp")
"""Policies of which times were published, or of what is closest to them; see `seed_comparison`."""
_POLICY: Final = (*GROUP, "policy")
_CELL: Final = (*TRACE, "policy")
TIMES: Final = ("elapsed_ns", "native_ns", "lock_wait_ns")
"""Times that a summary shows, as means over replicates."""


def price_run(run: LabelledRun, cost_model: CostModel) -> pl.DataFrame:
    """Return one row per cell: identity, times (`results.prices.pricing`) and the counters that a summary shows."""
    counts = run.scan("cells").select("cell_id", *COUNTS)
    priced = price_cells(run.scan("windows"), cost_model)
    return priced.join(counts, on="cell_id").sort(*GROUP, "policy", "replicate").collect(engine="streaming")


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedCells:
    """What a summary needs of the cells, and no more: ten million of them take some 400 MB."""

    sums: pl.DataFrame
    """Per workload, guest and policy: sums of times and counts, and the number of cells as `replicates`."""
    times: pl.DataFrame
    """One row per cell: `TRACE`, policy and elapsed_ns, in any order; texts may be Categorical."""


def priced_cells(run: LabelledRun, cost_model: CostModel) -> PricedCells | None:
    """Price the windows of a run, some files at a time; None if it has no cell yet."""
    cells, windows = run.pieces(("cells", "windows"))
    priced = [_priced(piece, cost_model) for piece in windows]
    if not any(times.height for _, times in priced):
        return None
    times = pl.concat([times for _, times in priced])
    counted = _added([_counted(rows) for rows in cells])
    _check_names(counted, _spelled(_counted(times.lazy())))
    sums = _added([sums for sums, _ in priced]).join(counted, on=_POLICY, how="right")
    return PricedCells(sums=sums.sort(_POLICY), times=times)


def _priced(windows: pl.LazyFrame, cost_model: CostModel) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return sums per workload, guest and policy, and the times of the cells; a cell has all its windows here."""
    names = [pl.col(name).cast(pl.Categorical) for name in ("workload", "guest", "policy", "trace_digest")]
    wanted = sorted({*_CELL, *COUNTS, *price_inputs(cost_model)})
    rows = windows.select(wanted).with_columns(names).collect(engine="streaming")
    # Of the counters of a workload many never count: their prices need not be multiplied by zero.
    model = cost_model.only({name for name in cost_model.counters() if rows[name].ne_missing(0).any()})
    times = price_windows(rows.lazy(), model, keys=_CELL).select(TIMES).collect(engine="streaming")
    # Beside each other, not as one result, which would copy the columns that are there already.
    priced = rows.select(*_CELL, *COUNTS).hstack(times)
    sums = priced.group_by(_POLICY).agg(pl.col(*TIMES, *COUNTS).sum())
    return _spelled(sums), priced.lazy().group_by(_CELL).agg(pl.col("elapsed_ns").sum()).collect(engine="streaming")


def _counted(cells: pl.LazyFrame) -> pl.DataFrame:
    return cells.group_by(_POLICY).agg(replicates=pl.len().cast(pl.Int64)).collect(engine="streaming")


def _spelled(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(pl.col(pl.Categorical).cast(pl.String))


def _added(sums: Sequence[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(sums).group_by(_POLICY).agg(pl.exclude(_POLICY).sum())


def differences_to(cells: PricedCells, baseline: str) -> pl.DataFrame:
    """Return `GROUP`, policy, mean, deviation and count of the differences to a policy on the same trace in %.

    Groups without a pair are left out. Values are added up one by one in the order of the replicates, so that neither
    a thread nor how cells are spread over files decides a digit. Of a replicate the cells have one trace.
    """
    groups = cells.sums.select(_POLICY).sort(_POLICY).group_by("workload", maintain_order=True)
    # One workload after the other: memory holds the pairs of one.
    return pl.concat(
        _differences(cells.times.filter(pl.col("workload") == workload), own, baseline) for (workload,), own in groups
    )


def _differences(times: pl.DataFrame, policies: pl.DataFrame, baseline: str) -> pl.DataFrame:
    groups = policies.with_row_index("group")
    base = times.filter(pl.col("policy") == baseline, pl.col("elapsed_ns") > 0)
    pairs = (
        times.lazy()
        .join(base.lazy().select(*PLACE, "trace_digest", base="elapsed_ns"), on=(*PLACE, "trace_digest"))
        .join(groups.lazy().cast({name: times.schema[name] for name in _POLICY}), on=_POLICY)
        # One number is sorted in a fraction of the time that two take.
        .select(
            order=pl.col("group").cast(pl.Int64) * 2**32 + pl.col("replicate"),
            difference=100.0 * (pl.col("elapsed_ns") / pl.col("base") - 1.0),
        )
        .collect(engine="streaming")
        .sort("order")
        .select("difference", group=pl.col("order") // 2**32)
    )
    group = pairs["group"].to_numpy()
    counts = np.bincount(group, minlength=groups.height)
    first = np.cumsum(counts) - counts
    # What is summed up is the distance to the first value of each group, whose square cancels out little.
    difference = pairs["difference"].to_numpy()
    near = np.append(difference, 0.0)[first]
    distance = difference - near[group]
    sums, squares = (np.bincount(group, value, minlength=len(counts)) for value in (distance, np.square(distance)))
    variance = (squares - np.square(sums) / np.maximum(counts, 1)) / np.maximum(counts - 1, 1)
    found = groups.drop("group").with_columns(
        mean=near + sums / np.maximum(counts, 1), deviation=np.sqrt(np.maximum(variance, 0.0)), count=counts
    )
    several = pl.when(pl.col("count") > 1).then("deviation")
    return _spelled(found.filter(pl.col("count") > 0).with_columns(deviation=several))


def _check_traces(times: pl.DataFrame, baseline: str) -> None:
    """Raise ComparisonError if the cells of a replicate that the baseline has met several traces."""
    traces = times.lazy().select(*PLACE, "trace_digest").unique().collect(engine="streaming")
    several = traces.filter(pl.struct(PLACE).is_duplicated())
    if several.height:
        pair_with(_spelled(times.join(several, on=PLACE, how="semi")), baseline, ())


def _check_names(counted: pl.DataFrame, named: pl.DataFrame) -> None:
    """Raise ComparisonError unless each cell has a name of its own, and windows."""
    found = counted.join(named, on=_POLICY, how="full", suffix="_named", nulls_equal=True)
    wrong = found.filter(pl.col("replicates").ne_missing(pl.col("replicates_named"))).sort(_POLICY)
    if wrong.height:
        first = wrong.row(0, named=True)
        raise ComparisonError(
            f"policy '{first['policy']}', workload '{first['workload']}', guest '{first['guest']}': "
            f"{first['replicates'] or 0} cells, but windows of {first['replicates_named'] or 0} under different names. "
            "If `sweep fsck` finds nothing, the run holds cells of two specifications: go on with `sweep run` and the "
            "sweep's file, so that it says which of them count"
        )


def summarize(
    run: LabelledRun, cost_model: CostModel, baseline: str, *, policies: Sequence[str] = (), rule: Rule = PLAIN_RULE
) -> pl.DataFrame:
    """Return one row per workload, guest and policy; see `summarize_priced`."""
    return summarize_priced(priced_or_error(run, cost_model), baseline, policies=policies, rule=rule)


def priced_or_error(run: LabelledRun, cost_model: CostModel) -> PricedCells:
    """Return what `priced_cells` does.

    Raises:
        ComparisonError: the run has no cell yet.
    """
    cells = priced_cells(run, cost_model)
    if cells is None:
        raise ComparisonError("no cell is finished: there is nothing to summarize. Run the sweep first")
    return cells


def summarize_priced(
    cells: PricedCells, baseline: str, *, policies: Sequence[str] = (), rule: Rule = PLAIN_RULE
) -> pl.DataFrame:
    """Return mean times and counts per workload, guest and policy, and the difference to `baseline` in %.

    The difference is paired by replicate and has an interval (null where there is one replicate only) and a verdict by
    `rule`, whose family is all differences of the summary. Policies come in the order of `policies`, others by name.
    Where the host dies in a replicate there is a verdict and no number, but for `fatal` and for the guest's own time.

    Raises:
        ComparisonError: no cell has the baseline, or a pair of cells met different traces.
    """
    found = cells.sums["policy"].unique().sort().to_list()
    check_baseline(baseline, found)
    count = pl.col("replicates")
    seconds = {name.replace("_ns", "_s"): pl.col(name) / count / 1e9 for name in TIMES}
    means = cells.sums.select(*_POLICY, *[pl.col(counter) / count for counter in COUNTS], count, **seconds)
    _check_traces(cells.times, baseline)
    is_baseline = pl.col("policy") == baseline
    dies = cells.sums.select(*_POLICY, dies=pl.col("fatal") > 0)
    moments = (
        dies.with_columns(baseline_dies=(pl.col("dies") & is_baseline).any().over(GROUP))
        .join(differences_to(cells, baseline), on=_POLICY, how="left")
        .with_columns(pl.col("count").fill_null(0))
        .filter((pl.col("count") > 0) | pl.col("dies"))
    )
    differences = verdict_columns(
        moments, rule, baseline=is_baseline, dies=pl.col("dies"), baseline_dies=pl.col("baseline_dies")
    ).select(*_POLICY, "p_holm", "verdict", difference_percent="mean", difference_low="low", difference_high="high")
    rank = {policy: index for index, policy in enumerate([*policies, *(p for p in found if p not in policies)])}
    order = pl.col("policy").replace_strict(rank, return_dtype=pl.Int64)
    numbers = [name for name in ("elapsed_s", "lock_wait_s", *COUNTS) if name != "fatal"]
    joined = (
        means.join(differences, on=_POLICY, how="left")
        .with_columns(pl.when(pl.col("verdict").ne_missing(Verdict.DIES)).then(pl.col(numbers)))
        .sort(*GROUP, order)
    )
    differences_there = ("difference_percent", "difference_low", "difference_high", "p_holm", "verdict")
    front = [*_POLICY, "replicates", "native_s", "elapsed_s", *differences_there]
    return joined.select(*front, *COUNTS, "lock_wait_s")


def published_comparison(
    cells: PricedCells, workloads: Sequence[Mapping[str, Any]], *, rule: Rule = PLAIN_RULE
) -> pl.DataFrame | None:
    """Return predictions beside what was published about kernbench, if the specification has it; None if none.

    Policies under which the host dies on a guest predict nothing for it.
    """
    kernbench = [case["label"] for case in workloads if case["name"] == "kernbench"]
    dying = cells.sums.filter(pl.col("fatal") > 0).select(_POLICY)
    wanted = pl.col("workload").is_in(kernbench) & pl.col("policy").is_in(PUBLISHED_POLICIES)
    rows = _spelled(cells.times.filter(wanted)).sort(*TRACE, "policy")
    rows = rows.join(dying, on=_POLICY, how="anti", maintain_order="left")
    comparison = None if rows.is_empty() else seed_comparison(rows, rule=rule)
    return None if comparison is None or comparison.is_empty() else comparison


def seed_comparison(
    cells: pl.DataFrame,
    *,
    before: str = "kvm-3.0",
    after: Sequence[str] = ("xiao-v1", "kvm-3.3"),
    nested: str = "tdp",
    rule: Rule = PLAIN_RULE,
) -> pl.DataFrame:
    """Return predictions of what was published, per workload and guest, beside the published numbers.

    Changes from `before` to each of `after` are in %, the ratio of `before` to `nested` is a number; both are paired
    by replicate, with intervals by `rule`. Comparisons whose policies are not in the run are left out.
    """
    change = SEED_KERNBENCH.change_percent()
    ratio = SHADOW_OVER_NESTED
    changes = (change.mean, change.low, change.high, SEED_KERNBENCH.source)
    ratios = (ratio.ratio, ratio.low, ratio.high, ratio.source)
    return pl.concat(
        [
            *(_predicted(cells, policy, before, f"{before} -> {policy}", "%", changes, rule.error) for policy in after),
            _predicted(cells, before, nested, f"{before} / {nested}", "x", ratios, rule.error),
        ]
    )


def _predicted(
    cells: pl.DataFrame,
    policy: str,
    baseline: str,
    comparison: str,
    unit: str,
    published: tuple[float, float, float, str],
    error: float,
) -> pl.DataFrame:
    paired = pair_with(cells.filter(pl.col("policy").is_in([policy, baseline])), baseline, ("elapsed_ns",))
    ratio = pl.col("elapsed_ns") / pl.col("elapsed_ns_baseline")
    value = ratio if unit == "x" else relative_difference("elapsed_ns", "elapsed_ns_baseline")
    values = paired.filter(pl.col("policy") == policy).with_columns(value=value)
    predicted = interval_columns(values, "value", GROUP, error=error).sort(*GROUP)
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
