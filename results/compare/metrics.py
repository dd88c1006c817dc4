"""Derived metrics: named expressions over counters, for cells and for windows alike."""

from dataclasses import dataclass
from typing import Final

import polars as pl


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One derived number: null where what it divides by is zero."""

    name: str
    unit: str
    description: str
    expression: pl.Expr


def _ratio(numerator: str, denominator: str) -> pl.Expr:
    divisor = pl.col(denominator)
    return pl.when(divisor > 0).then(pl.col(numerator) / divisor)


def _per_run_second(counter: str) -> pl.Expr:
    seconds = pl.col("guest_run_ns") / 1e9
    return pl.when(seconds > 0).then(pl.col(counter) / seconds)


_PER_RUN_SECOND: Final = "1/s"
_ALL: Final[tuple[Metric, ...]] = (
    Metric(
        name="exits_per_run_second",
        unit=_PER_RUN_SECOND,
        description="VM exits of the MMU per second that the guest ran natively",
        expression=_per_run_second("exits"),
    ),
    Metric(
        name="emulations_per_run_second",
        unit=_PER_RUN_SECOND,
        description="emulated instructions per second that the guest ran natively",
        expression=_per_run_second("insn_emulation"),
    ),
    Metric(
        name="emulated_exit_share",
        unit="1",
        description="exits that ended in an emulated instruction",
        expression=_ratio("insn_emulation", "exits"),
    ),
    Metric(
        name="write_upgrade_share",
        unit="1",
        description="fixed faults that only made a present spte writable, such as the one after each unshadowing",
        expression=_ratio("write_upgrades", "pf_fixed"),
    ),
    Metric(
        name="dead_table_write_share",
        unit="1",
        description="trapped stores to pages that are no table any more: the waste that unshadowing is about",
        expression=_ratio("dead_table_writes", "mmu_pte_write"),
    ),
    Metric(
        name="trapped_store_share",
        unit="1",
        description="stores to pages that are or were tables that the hypervisor trapped",
        expression=_ratio("mmu_pte_write", "guest_stores"),
    ),
    Metric(
        name="prefetch_hit_share",
        unit="1",
        description="speculative sptes that were used later",
        expression=_ratio("prefetch_used", "sptes_prefetched"),
    ),
    Metric(
        name="hash_steps_per_lock",
        unit="1",
        description="shadow pages looked at in hash chains per acquisition of mmu_lock",
        expression=_ratio("hash_steps", "lock_acquisitions"),
    ),
    Metric(
        name="sptes_per_zap",
        unit="1",
        description="present sptes lost with each zapped shadow page",
        expression=_ratio("sptes_zapped", "mmu_shadow_zapped"),
    ),
)

METRICS: Final[dict[str, Metric]] = {metric.name: metric for metric in _ALL}
"""Metric name -> metric."""


def metric_expressions(*names: str) -> list[pl.Expr]:
    """Return the expressions of the metrics of these names, or of all of them, each named.

    Raises:
        KeyError: no such metric; the message lists all.
    """
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise KeyError(f"unknown metric '{unknown[0]}'. Allowed: {', '.join(METRICS)}")
    return [METRICS[name].expression.alias(name) for name in names or METRICS]
