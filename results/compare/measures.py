"""What can be compared: times, counters and derived metrics by name, and their values cell by cell."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from engine.vocabulary import COUNTERS
from results.compare.dimensions import COORDINATES
from results.compare.metrics import METRICS
from results.prices.cost_model import CostModel
from results.prices.pricing import price_cells
from results.spelling import did_you_mean
from results.statistics.pairing import ComparisonError
from results.summary import Tables

_TIMES: Final = {
    "elapsed": ("elapsed_ns", "elapsed time under the cost model"),
    "native": ("native_ns", "time that the guest takes without a hypervisor"),
    "overhead": ("overhead_ns", "time of all vCPUs that the hypervisor takes, without waiting"),
    "lock_wait": ("lock_wait_ns", "time that vCPUs wait for mmu_lock"),
    "locked": ("locked_ns", "time for which mmu_lock is held"),
    "busy": ("busy_ns", "time that all vCPUs run the guest natively"),
}
_MORE_IS_BETTER: Final = frozenset({"prefetch_used", "prefetch_hit_share"})
"""Speculation that pays. Everything else that is counted here is work for somebody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """Something that each cell has one number of."""

    name: str
    unit: str
    description: str
    expression: pl.Expr
    is_priced: bool = False
    is_more_better: bool = False


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
    derived = [
        Measure(
            name=metric.name,
            unit=metric.unit,
            description=metric.description,
            expression=metric.expression,
            is_more_better=metric.name in _MORE_IS_BETTER,
        )
        for metric in METRICS.values()
    ]
    return {measure.name: measure for measure in (*times, *derived, *counters)}


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


def measured_cells(tables: Tables, measures: Sequence[Measure], costs: CostModel | None) -> pl.DataFrame:
    """Return one row per cell: its coordinates, whether the host `dies` in it, and one column per measure.

    Raises:
        ComparisonError: a time is asked for, and there are no costs.
    """
    priced = [measure for measure in measures if measure.is_priced]
    counted = [measure.expression.alias(measure.name) for measure in measures if not measure.is_priced]
    cells = tables.scan_cells().select("cell_id", *COORDINATES, *counted, dies=pl.col("fatal") > 0)
    if priced:
        if costs is None:
            raise ComparisonError(f"metric '{priced[0].name}' is a time: give a cost model")
        times = price_cells(tables.scan_windows(), costs).select(
            "cell_id",
            *(measure.expression.alias(measure.name) for measure in priced),
        )
        cells = cells.join(times, on="cell_id")
    return cells.sort("workload", "guest", "replicate", "policy").collect(engine="streaming")
