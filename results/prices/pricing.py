"""Counts into time, window by window: overhead, waiting for mmu_lock, elapsed. docs/explanation/costs.md says why so.

For a window of native length `span` in which the guest's vCPUs ran `busy` ns in all (both scaled to the model's CPU):

    concurrency = max(1, busy / span)                vCPUs that have something to run
    overhead    = sum of counter * cycles / GHz      time that the hypervisor takes from them
    waiting     = results.prices.waiting                    time that they wait for mmu_lock, on the CPU
    elapsed     = span + (overhead + waiting) / concurrency

Times are rounded to whole ns per window, so that sums do not depend on the order of the rows.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from typing import Final

import numpy as np
import polars as pl

from results.prices.cost_model import Cost, CostModel
from results.prices.waiting import lock_waiting
from results.store.columns import IDENTITY

PRICE_COLUMNS: Final = ("native_ns", "busy_ns", "overhead_ns", "locked_ns", "lock_wait_ns", "elapsed_ns")
_STEP_WINDOWS: Final = 1 << 14
"""Windows whose waiting is computed together: what is made on the way stays in the processor's cache."""
KEYS: Final = tuple(column.name for column in IDENTITY)
"""Identity of a row."""


def cycles_expression(costs: Sequence[Cost], *, locked: bool = False) -> pl.Expr:
    """Return cycles per row: the sum of counter times cycles, or times the cycles with mmu_lock held."""
    terms = [
        pl.col(cost.counter).cast(pl.Float64) * (cost.locked_cycles if locked else cost.cycles)
        for cost in costs
        if (cost.locked_cycles if locked else cost.cycles)
    ]
    return reduce(add, terms, pl.lit(0.0))


def by_paging(price: Callable[[str], pl.Expr | float]) -> pl.Expr:
    """Return the price of each row, given what it is for a kind of paging: that of the row's own one."""
    return pl.when(pl.col("host_paging") == "nested").then(price("nested")).otherwise(price("shadow"))


def concurrency(*, busy: pl.Expr, span: pl.Expr) -> pl.Expr:
    """Return how many vCPUs have something to run in a window, from 1 to all of them; they share elapsed times."""
    running = pl.max_horizontal(1.0, busy / pl.max_horizontal(span, 1.0))
    return pl.min_horizontal(running, pl.col("vcpus").cast(pl.Float64))


def price_inputs(model: CostModel) -> frozenset[str]:
    """Return the columns of windows that times are made of, beside those that only name a window."""
    return frozenset(
        {"host_paging", "vcpus", "window", "length_ns", "guest_run_ns", "lock_acquisitions", *model.counters()}
    )


def rate_windows(windows: pl.LazyFrame, model: CostModel, *also: pl.Expr, keys: Sequence[str] = KEYS) -> pl.LazyFrame:
    """Return one row per window with the terms of its elapsed time as they are before rounding, in ns.

    Columns: `keys`, vcpus among them, `window`, `_native`, `_busy`, `_overhead`, `_locked`, `_concurrency`,
    `_unqueued`, `_waiting`, and `also`. Elapsed is `_unqueued + _waiting / _concurrency`; `_unqueued` is
    `_native + _overhead / _concurrency`.
    """
    scale, ghz = model.native_time_scale.value, model.cpu_ghz.value
    rated = windows.select(
        *keys,
        "window",
        "lock_acquisitions",
        *also,
        _native=pl.col("length_ns") * scale,
        _busy=pl.col("guest_run_ns") * scale,
        _overhead=by_paging(lambda paging: cycles_expression(model.costs(paging))) / ghz,
        _locked=by_paging(lambda paging: cycles_expression(model.costs(paging), locked=True)) / ghz,
    )
    unqueued = rated.with_columns(_concurrency=concurrency(busy=pl.col("_busy"), span=pl.col("_native")))
    unqueued = unqueued.with_columns(_unqueued=pl.col("_native") + pl.col("_overhead") / pl.col("_concurrency"))
    waiting = pl.struct("lock_acquisitions", "_locked", "_unqueued", "vcpus").map_batches(
        _waiting, return_dtype=pl.Float64, is_elementwise=True
    )
    return unqueued.with_columns(_waiting=waiting)


def elapsed_expression() -> pl.Expr:
    """Return the elapsed time of a rated window in whole ns."""
    return (pl.col("_unqueued") + pl.col("_waiting") / pl.col("_concurrency")).round().cast(pl.Int64)


def price_windows(windows: pl.LazyFrame, model: CostModel, *, keys: Sequence[str] = KEYS) -> pl.LazyFrame:
    """Return one row per window with `keys` and `PRICE_COLUMNS`; lazy, any number of rows."""
    return rate_windows(windows, model, keys=keys).select(
        *keys,
        "window",
        native_ns=_whole("_native"),
        busy_ns=_whole("_busy"),
        overhead_ns=_whole("_overhead"),
        locked_ns=_whole("_locked"),
        lock_wait_ns=_whole("_waiting"),
        elapsed_ns=elapsed_expression(),
    )


def price_cells(windows: pl.LazyFrame, model: CostModel) -> pl.LazyFrame:
    """Return one row per cell: its identity and the sums of `PRICE_COLUMNS` over its windows."""
    others = [pl.col(key).first() for key in KEYS if key != "cell_id"]
    sums = [pl.col(column).sum() for column in PRICE_COLUMNS]
    return price_windows(windows, model).group_by("cell_id").agg(*others, *sums).select(*KEYS, *PRICE_COLUMNS)


def _waiting(columns: pl.Series) -> pl.Series:
    rows = columns.struct.unnest()
    every = [rows[name].to_numpy() for name in ("lock_acquisitions", "_locked", "_unqueued", "vcpus")]
    waiting = np.empty(rows.height)
    for start in range(0, rows.height, _STEP_WINDOWS):
        step = slice(start, start + _STEP_WINDOWS)
        acquisitions, locked, unqueued, vcpus = (column[step] for column in every)
        vcpu_ns = unqueued * vcpus
        waiting[step] = lock_waiting(acquisitions.astype(np.float64), locked, vcpu_ns, vcpus.astype(np.int64))
    return pl.Series("waiting", waiting, dtype=pl.Float64)


def _whole(column: str) -> pl.Expr:
    return pl.col(column).round().cast(pl.Int64)
