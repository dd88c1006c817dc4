"""What a run keeps of its present specification for those who read it: names of cells, and prices."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import polars as pl

from results.store import labels
from results.store.lost import COSTS_FILE
from results.store.run_store import RunStore
from results.store.storage import DamageError
from sweep.plan.plan import Plan, PlannedBatch
from sweep.spec.spec import SweepSpec

_BATCHES: Final = 1024
"""Batches whose names are in memory at a time: with four times as many a driver took 21 MB more (13 policies)."""


def write_labels(store: RunStore, plan: Plan) -> None:
    """Write which cell goes by which names; the file is replaced whole."""
    pieces = range(0, len(plan.batches), _BATCHES)
    labels.write_labels(store.storage, (_labels(plan.batches[start : start + _BATCHES]) for start in pieces))


def _labels(batches: Sequence[PlannedBatch]) -> pl.DataFrame:
    rows = [
        (
            cell_id,
            policy.name,
            *batch.kind,
            batch.coordinate.replicate,
        )
        for batch in batches
        for policy, cell_id in zip(batch.policies, batch.cell_ids, strict=True)
    ]
    return pl.DataFrame(rows, schema=labels.LABELS_SCHEMA, orient="row")


def write_costs(store: RunStore, prices: Mapping[str, Any]) -> None:
    """Write the cost model that the specification names, for readers who have no YAML."""
    store.storage.put(COSTS_FILE, _costs_content(prices))


def is_current(store: RunStore, spec: SweepSpec, prices: Mapping[str, Any]) -> bool:
    """Say whether the run carries that specification, its prices as they are now, and names that can be read."""
    try:
        if store.spec() != json.loads(json.dumps(spec.resolved())):
            return False
        labels.scan_labels(store.storage)
    except (DamageError, FileNotFoundError):
        return False
    return store.storage.exists(COSTS_FILE) and store.storage.read(COSTS_FILE) == _costs_content(prices)


def _costs_content(prices: Mapping[str, Any]) -> bytes:
    return (json.dumps(prices, indent=1) + "\n").encode()
