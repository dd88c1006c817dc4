"""Counts into time: the formulas by hand, for one window and for many."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from engine.vocabulary import COUNTER_INDEX, COUNTER_NAMES
from results.compare.measures import METRICS, metric_expressions
from results.prices.pricing import PRICE_COLUMNS, price_cells, price_windows
from results.prices.waiting import lock_waiting
from results.store.rows import Cell, Trace, windows_table
from tests.support.synthetic import WINDOW_NS, cell, cost, quantity, replicate_batches, small_model, trace, windows_of


def one_window(one: Cell, counters: dict[str, int]) -> pl.LazyFrame:
    """Return the table of a single full window with these counters."""
    counts = np.zeros((1, 1, len(COUNTER_NAMES)), dtype=np.int64)
    for name, count in counters.items():
        counts[0, 0, COUNTER_INDEX[name]] = count
    facts = Trace(trace_digest="t", window_ns=WINDOW_NS, native_seconds=WINDOW_NS / 1e9, events=1)
    return frame(windows_table([one], counts, facts))


def frame(table: Any) -> pl.LazyFrame:
    """Return an Arrow table as a LazyFrame."""
    read = pl.from_arrow(table)
    assert isinstance(read, pl.DataFrame)
    return read.lazy()


def priced(one: Cell, counters: dict[str, int], **model: Any) -> dict[str, Any]:
    """Return the times of one window."""
    return price_windows(one_window(one, counters), small_model(**model)).collect().row(0, named=True)


def test_one_busy_vcpu_pays_all_overhead() -> None:
    """On one vCPU that always runs, elapsed is native time plus overhead, and nobody waits."""
    found = priced(cell("kvm-3.0", vcpus=1), {"guest_run_ns": 10_000_000, "exits": 2000, "mmu_pte_write": 10_000})

    assert found["overhead_ns"] == 2000 * 1000 + 10_000 * 300
    assert found["locked_ns"] == 10_000 * 300
    assert found["lock_wait_ns"] == 0
    assert found["elapsed_ns"] == 10_000_000 + found["overhead_ns"]


def test_two_busy_vcpus_share_the_overhead() -> None:
    """While both vCPUs run, the window grows by half of the overhead: span * (busy + overhead) / busy."""
    found = priced(cell("kvm-3.0"), {"guest_run_ns": 20_000_000, "exits": 2000})

    assert found["elapsed_ns"] == 10_000_000 * (20_000_000 + 2_000_000) // 20_000_000


def test_idle_time_does_not_grow() -> None:
    """Where less than one vCPU is busy, overhead adds to the idle time and does not stretch it."""
    idle = priced(cell("kvm-3.0"), {"exits": 100})
    half = priced(cell("kvm-3.0"), {"exits": 100, "guest_run_ns": 5_000_000})

    assert idle["elapsed_ns"] == half["elapsed_ns"] == 10_000_000 + 100_000


def test_waiting_is_shared_by_those_who_run() -> None:
    """Waiting for the lock is what mean-value analysis says, on top of the overhead, divided among the busy vCPUs."""
    counters = {"guest_run_ns": 20_000_000, "mmu_pte_write": 20_000, "lock_acquisitions": 20_000}
    unqueued = 10_000_000 + 20_000 * 300 / 2
    expected = lock_waiting(np.array([20_000.0]), np.array([6e6]), np.array([2 * unqueued]), np.array([2]))[0]

    found = priced(cell("kvm-3.0"), counters)

    assert expected > 100_000
    assert found["lock_wait_ns"] == round(expected)
    assert found["elapsed_ns"] == round(unqueued + expected / 2)


def test_a_lock_that_is_always_held_paces_the_window() -> None:
    """The window takes no less time than the lock is held in it."""
    counters = {"guest_run_ns": 80_000_000, "mmu_pte_write": 200_000, "lock_acquisitions": 200_000}

    found = priced(cell("kvm-3.0", vcpus=8), counters)

    assert found["locked_ns"] == 60_000_000
    assert found["elapsed_ns"] >= found["locked_ns"]


def test_nested_paging_has_its_own_prices() -> None:
    """Hardware that walks both tables pays per translation, shadow paging per exit."""
    counters = {"guest_run_ns": 10_000_000, "guest_touches": 1000, "exits": 7}

    nested = priced(cell("tdp", vcpus=1), counters)
    shadow = priced(cell("kvm-3.0", vcpus=1), counters)

    assert nested["overhead_ns"] == 1000 * 12
    assert shadow["overhead_ns"] == 7 * 1000


def test_clock_and_scale_act_on_their_parts() -> None:
    """A faster clock shortens overhead, a slower guest stretches native time."""
    counters = {"guest_run_ns": 10_000_000, "exits": 100}

    found = priced(cell("kvm-3.0", vcpus=1), counters, cpu_ghz=quantity(2.0), native_time_scale=quantity(1.5))

    assert found["overhead_ns"] == 100 * 1000 / 2
    assert found["native_ns"] == found["busy_ns"] == 15_000_000
    assert found["elapsed_ns"] == 15_050_000


def test_a_cell_is_the_sum_of_its_windows() -> None:
    """Times of a cell are the exact sums over its windows, whatever the order of the rows."""
    cells = replicate_batches(1)[0][1]
    table = frame(windows_table(cells, windows_of(cells, 50), trace(50)))
    model = small_model(shadow={"exits": cost(1003), "mmu_pte_write": cost(3001, 2999)})

    shuffled = table.collect().sample(fraction=1.0, shuffle=True, seed=1).lazy()
    found = price_cells(shuffled, model).sort("policy").collect()
    windows = price_windows(table, model).collect()

    expected = windows.group_by("policy").agg(pl.col(PRICE_COLUMNS).sum()).sort("policy")
    assert found.select("policy", *PRICE_COLUMNS).equals(expected)
    assert found["lock_wait_ns"].min() == 0
    assert found["lock_wait_ns"].max() > 0


def test_prices_stream() -> None:
    """The streaming engine gives what the in-memory engine gives."""
    cells = replicate_batches(1)[0][1]
    table = frame(windows_table(cells, windows_of(cells, 50), trace(50)))
    query = price_cells(table, small_model())

    streamed, whole = query.collect(engine="streaming"), query.collect(engine="in-memory")

    assert streamed.sort("cell_id").equals(whole.sort("cell_id"))


def test_metrics_divide_counters() -> None:
    """A metric is its ratio of counters, and null where there is nothing to divide by."""
    counters = {"exits": 200, "insn_emulation": 50, "guest_run_ns": 500_000_000}
    table = one_window(cell("kvm-3.0"), counters)

    found = table.select(metric_expressions()).collect().row(0, named=True)

    assert list(found) == list(METRICS)
    assert found["emulated_exit_share"] == pytest.approx(0.25)
    assert found["exits_per_run_second"] == pytest.approx(400)
    assert found["write_upgrade_share"] is None


def test_an_unknown_metric_is_named() -> None:
    """Asking for a metric that is none lists those that are."""
    with pytest.raises(KeyError, match="unknown metric 'speed'"):
        metric_expressions("speed")
