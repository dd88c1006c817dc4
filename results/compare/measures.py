"""What can be compared: times, counters and derived metrics by name, and their values cell by cell."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from engine.vocabulary import COUNTERS
from results.compare.dimensions import COORDINATES
from results.prices.cost_model import CostModel
from results.prices.pricing import price_cells
from results.spelling import did_you_mean
from results.statistics.pairing import ComparisonError
from results.store.labels import LabelledRun

_TIMES: Final = {
    "elapsed": ("elapsed_ns", "elapsed time under the cost model"),
    "native": ("native_ns", "time that the guest takes without a hypervisor"),
    "overhead": ("overhead_ns", "time of all vCPUs that the hypervisor takes, without waiting"),
    "lock_wait": ("lock_wait_ns", "time that vCPUs wait for mmu_lock"),
    "locked": ("locked_ns", "time for which mmu_lock is held"),
    "busy": ("busy_ns", "time that all vCPUs run the guest natively"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """Something that each cell has one number of."""

    name: str
    unit: str
    description: str
    expression: pl.Expr
    is_priced: bool = False
    is_more_better: bool = False


_RATIOS: Final = {
    "exits_per_run_second": ("exits", "guest_run_ns", "VM exits of the MMU per second that the guest ran natively"),
    "emulations_per_run_second": (
        "insn_emulation",
        "guest_run_ns",
        "emulated instructions per second that the guest ran natively",
    ),
    "emulated_exit_share": ("insn_emulation", "exits", "exits that ended in an emulated instruction"),
    "write_upgrade_share": (
        "write_upgrades",
        "pf_fixed",
        "fixed faults that only made a present spte writable, such as the one after each unshadowing",
    ),
    "dead_table_write_share": (
        "dead_table_writes",
        "mmu_pte_write",
        "trapped stores to pages that are no table any more: the waste that unshadowing is about",
    ),
    "trapped_store_share": (
        "mmu_pte_write",
        "guest_stores",
        "stores to pages that are or were tables that the hypervisor trapped",
    ),
    "prefetch_hit_share": ("prefetch_used", "sptes_prefetched", "speculative sptes that were used later"),
    "hash_steps_per_lock": (
        "hash_steps",
        "lock_acquisitions",
        "shadow pages looked at in hash chains per acquisition of mmu_lock",
    ),
    "sptes_per_zap": ("sptes_zapped", "mmu_shadow_zapped", "present sptes lost with each zapped shadow page"),
}
"""Name -> counter, what it is divided by, and what that means."""
_MORE_IS_BETTER: Final = frozenset({"prefetch_used", "prefetch_hit_share"})
"""Speculation that pays. Everything else that is counted here is work for somebody."""


def _ratio(name: str, numerator: str, denominator: str, description: str) -> Measure:
    per_second = denominator == "guest_run_ns"
    divisor = pl.col(denominator) / 1e9 if per_second else pl.col(denominator)
    return Measure(
        name=name,
        unit="1/s" if per_second else "1",
        description=description,
        expression=pl.when(divisor > 0).then(pl.col(numerator) / divisor),
        is_more_better=name in _MORE_IS_BETTER,
    )


METRICS: Final = {name: _ratio(name, *ratio) for name, ratio in _RATIOS.items()}
"""Name -> derived metric: an expression over counters, for cells and for windows alike, null for anything over zero."""


def _measures() -> dict[str, Measure]:
    times = [
        Measure(name=name, unit="s", description=text, expression=pl.col(column) / 1e9, is_priced=True)
        for name, (column, text) in _TIMES.items()
    ]
    counters = [
        Measure(
            name=info.name,
            unit=info.unit,
            description=info.description,
            expression=pl.col(info.name).cast(pl.Float64),
            is_more_better=info.name in _MORE_IS_BETTER,
        )
        for info in COUNTERS
    ]
    return {measure.name: measure for measure in (*times, *METRICS.values(), *counters)}


MEASURES: Final = _measures()
"""Name -> measure: times, derived metrics, counters, in the order in which messages list them."""


def measure_named(name: str) -> Measure:
    """Return the measure of that name.

    Raises:
        ComparisonError: there is none.
    """
    if name not in MEASURES:
        raise ComparisonError(f"unknown metric '{name}'.{did_you_mean(name, MEASURES)} Allowed: {', '.join(MEASURES)}")
    return MEASURES[name]


def metric_expressions(*names: str) -> list[pl.Expr]:
    """Return the expressions of the metrics of these names, or of all of them, each named.

    Raises:
        KeyError: no such metric; the message lists all.
    """
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise KeyError(f"unknown metric '{unknown[0]}'. Allowed: {', '.join(METRICS)}")
    return [METRICS[name].expression.alias(name) for name in names or METRICS]


def measured_cells(run: LabelledRun, measures: Sequence[Measure], costs: CostModel | None) -> pl.DataFrame:
    """Return one row per cell: its coordinates, whether the host `dies` in it, and one column per measure.

    Raises:
        ComparisonError: a time is asked for, and there are no costs.
    """
    priced = [measure for measure in measures if measure.is_priced]
    counted = [measure.expression.alias(measure.name) for measure in measures if not measure.is_priced]
    cells = run.scan("cells").select("cell_id", *COORDINATES, *counted, dies=pl.col("fatal") > 0)
    if priced:
        if costs is None:
            raise ComparisonError(f"metric '{priced[0].name}' is a time: give a cost model")
        times = price_cells(run.scan("windows"), costs).select(
            "cell_id", *(measure.expression.alias(measure.name) for measure in priced)
        )
        cells = cells.join(times, on="cell_id")
    return cells.sort("workload", "guest", "replicate", "policy").collect(engine="streaming")
