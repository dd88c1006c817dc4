"""Counters made up from a seed, in the shape that the engine yields, for the tests of results/."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.guests import Guest
from engine.vocabulary import ACTIVITY_NAMES, COUNTER_INDEX, COUNTER_NAMES
from results.prices.cost_model import CostModel, cost_model_from_mapping
from results.store.parts import PART_TABLES
from results.store.rows import Cell, Counts, FailedBatch, Trace, activities_table, cells_table, windows_table
from results.store.run_store import RunStore

POLICIES: Final = ("kvm-3.0", "kvm-3.3", "tdp", "xiao-v1")
WINDOW_NS: Final = 10_000_000
SPEC: Final = {
    "name": "synthetic",
    "policies": [{"name": policy} for policy in POLICIES],
    "workloads": [{"name": "kernbench", "label": "kernbench"}],
    "guests": [{"vcpus": 2, "memory_mib": 512}],
    "replicates": 1,
    "baseline": "kvm-3.0",
    "costs": "nehalem-2011",
}
PROVENANCE: Final = {"code_fingerprint": "f1", "host": "here", "started": "now"}


def cell(policy: str, replicate: int = 0, **changes: Any) -> Cell:
    """Return the cell of a policy on one small guest."""
    sizes = asdict(Guest(vcpus=2, memory_mib=512))
    guest = sizes | {name: changes.pop(name) for name in sizes if name in changes}
    fields: dict[str, Any] = {
        "policy": policy,
        "host_paging": "nested" if policy == "tdp" else "shadow",
        "workload": "kernbench",
        "guest": "small",
        "guest_fields": guest,
        "replicate": replicate,
        "seed": 2**64 - 1 - replicate,
    } | changes
    identity = hashlib.sha256(repr(sorted(fields.items())).encode()).hexdigest()[:16]
    return Cell(**{"cell_id": identity} | fields)


def failed(message: str) -> FailedBatch:
    """Return why a batch failed."""
    return FailedBatch(
        attempt=1,
        fingerprint="f00d",
        error="ValueError",
        message=message,
        traceback="here",
        host="here",
        stderr="",
        command="sweep run small.yaml --only-batch batch-b",
    )


def trace(windows: int = 3, replicate: int = 0) -> Trace:
    """Return a trace whose last window is half as long as the others."""
    return Trace(
        trace_digest=f"trace-{replicate}",
        window_ns=WINDOW_NS,
        native_seconds=(windows - 0.5) * WINDOW_NS / 1e9,
        events=1000 * windows,
    )


def windows_of(cells: Sequence[Cell], windows: int = 3, *, dying: Collection[str] = ()) -> Counts:
    """Return counters drawn from the cells' own seeds and names: `windows[window, lane, counter]`.

    Under the policies `dying` the host dies, but for the first replicate.
    """
    counts = np.empty((windows, len(cells), len(COUNTER_NAMES)), dtype=np.int64)
    for lane, one in enumerate(cells):
        generator = np.random.default_rng([int(one.cell_id, 16), one.replicate])
        counts[:, lane] = generator.integers(0, 1000, (windows, len(COUNTER_NAMES)))
    dies = [one.policy in dying and one.replicate > 0 for one in cells]
    counts[:, :, COUNTER_INDEX["fatal"]] = 0
    counts[-1, :, COUNTER_INDEX["fatal"]] = dies
    counts[:, :, COUNTER_INDEX["guest_run_ns"]] = 15_000_000
    return counts


def totals_of(windows: Counts) -> Counts:
    """Return what windows add up to; `pages_peak` is a maximum."""
    totals: Counts = windows.sum(axis=0)
    peak = COUNTER_INDEX["pages_peak"]
    totals[:, peak] = windows[:, :, peak].max(axis=0)
    return totals


def write_batch(
    store: RunStore,
    batch_id: str,
    cells: Sequence[Cell],
    windows: int = 3,
    *,
    activities: bool = False,
    dying: Collection[str] = (),
) -> Any:
    """Stage one batch and return its manifest entry."""
    facts = trace(windows, cells[0].replicate)
    counts = windows_of(cells, windows, dying=dying)
    totals = totals_of(counts)
    tables = {"cells": cells_table(cells, totals, facts), "windows": windows_table(cells, counts, facts)}
    if activities:
        # All that happened, the first activity has caused.
        caused = np.zeros((len(ACTIVITY_NAMES), *totals.shape), dtype=np.int64)
        caused[0] = totals
        tables["activities"] = activities_table(cells, caused, facts)
    return store.write_part(batch_id, tables)


def replicate_batches(count: int, policies: Sequence[str] = POLICIES) -> list[tuple[str, list[Cell]]]:
    """Return name and cells of `count` batches: one per replicate, with all policies."""
    return [(f"batch-{r}", [cell(policy, r) for policy in policies]) for r in range(count)]


def make_run(
    path: Path, batches: Sequence[tuple[str, Sequence[Cell]]], windows: int = 3, *, dying: Collection[str] = ()
) -> RunStore:
    """Write and commit batches in the given order."""
    store = RunStore(path)
    store.create(SPEC, PROVENANCE)
    for batch_id, cells in batches:
        store.commit(write_batch(store, batch_id, cells, windows, dying=dying))
    return store


def bytes_of(store: RunStore) -> dict[str, bytes]:
    """Return the committed files by their path in the run."""
    paths = [path for table in PART_TABLES for path in (store.path / table).glob("*")]
    return {str(path.relative_to(store.path)): path.read_bytes() for path in paths}


def cost(cycles: float, locked_cycles: float = 0, **changes: Any) -> dict[str, Any]:
    """Return one cost as a mapping."""
    entry = {"cycles": cycles, "locked_cycles": locked_cycles, "low": cycles / 2, "high": 2 * cycles}
    return entry | {"status": "assumption", "source": "this test"} | changes


def quantity(value: float) -> dict[str, Any]:
    """Return one quantity as a mapping."""
    return {"value": value, "low": value, "high": value, "status": "assumption", "source": "this test"}


def model_mapping(**changes: Any) -> dict[str, Any]:
    """Return a small valid cost model: 1 GHz, so that a cycle is 1 ns."""
    mapping: dict[str, Any] = {
        "name": "small",
        "summary": "for tests",
        "cpu_ghz": quantity(1.0),
        "native_time_scale": quantity(1.0),
        "shadow": {"exits": cost(1000), "mmu_pte_write": cost(300, 300)},
        "nested": {"guest_touches": cost(12)},
        "unpriced": {"fatal": "no time"},
    }
    return mapping | changes


def small_model(**changes: Any) -> CostModel:
    """Return that cost model, checked."""
    return cost_model_from_mapping(model_mapping(**changes))
