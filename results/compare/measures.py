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


def _ratio(numerator: str, denominator: str) -> pl.Expr:
    divisor = pl.col(denominator)
    return pl.when(divisor > 0).then(pl.col(numerator) / divisor)


def _per_run_second(counter: str) -> pl.Expr:
    seconds = pl.col("guest_run_ns") / 1e9
    return pl.when(seconds > 0).then(pl.col(counter) / seconds)


_PER_RUN_SECOND: Final = "1/s"
_DERIVED: Final[tuple[Measure, ...]] = (
    Measure(
        name="exits_per_run_second",
        unit=_PER_RUN_SECOND,
        description="VM exits of the MMU per second that the guest ran natively",
        expression=_per_run_second("exits"),
    ),
    Measure(
        name="emulations_per_run_second",
        unit=_PER_RUN_SECOND,
        description="emulated instructions per second that the guest ran natively",
        expression=_per_run_second("insn_emulation"),
    ),
    Measure(
        name="emulated_exit_share",
        unit="1",
        description="exits that ended in an emulated instruction",
        expression=_ratio("insn_emulation", "exits"),
    ),
    Measure(
        name="write_upgrade_share",
        unit="1",
        description="fixed faults that only made a present spte writable, such as the one after each unshadowing",
        expression=_ratio("write_upgrades", "pf_fixed"),
    ),
    Measure(
        name="dead_table_write_share",
        unit="1",
        description="trapped stores to pages that are no table any more: the waste that unshadowing is about",
        expression=_ratio("dead_table_writes", "mmu_pte_write"),
    ),
    Measure(
        name="trapped_store_share",
        unit="1",
        description="stores to pages that are or were tables that the hypervisor trapped",
        expression=_ratio("mmu_pte_write", "guest_stores"),
    ),
    Measure(
        name="prefetch_hit_share",
        unit="1",
        description="speculative sptes that were used later",
        expression=_ratio("prefetch_used", "sptes_prefetched"),
        is_more_better=True,
    ),
    Measure(
        name="hash_steps_per_lock",
        unit="1",
        description="shadow pages looked at in hash chains per acquisition of mmu_lock",
        expression=_ratio("hash_steps", "lock_acquisitions"),
    ),
    Measure(
        name="sptes_per_zap",
        unit="1",
        description="present sptes lost with each zapped shadow page",
        expression=_ratio("sptes_zapped", "mmu_shadow_zapped"),
    ),
)
METRICS: Final = {metric.name: metric for metric in _DERIVED}
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
            # Speculation that pays. Everything else that is counted here is work for somebody.
            is_more_better=info.name == "prefetch_used",
        )
        for info in COUNTERS
    ]
    return {measure.name: measure for measure in (*times, *_DERIVED, *counters)}


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
            "cell_id",
            *(measure.expression.alias(measure.name) for measure in priced),
        )
        cells = cells.join(times, on="cell_id")
    return cells.sort("workload", "guest", "replicate", "policy").collect(engine="streaming")
