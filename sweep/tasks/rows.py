"""Rows of a batch: what the plan says about its cells beside what the engine counted."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from engine.simulate import BatchCounts
from results.store.rows import Cell, Trace, activities_table, cells_table, windows_table
from sweep.plan.plan import PlannedBatch
from sweep.spec.spec import guest_label

if TYPE_CHECKING:
    import pyarrow as pa


def batch_name(cell_ids: Sequence[str]) -> str:
    """Return the name of a batch in the manifest: the same cells give the same name."""
    return "batch-" + hashlib.blake2b("".join(cell_ids).encode(), digest_size=12).hexdigest()


def batch_tables(planned: PlannedBatch, counts: BatchCounts) -> "dict[str, pa.Table]":
    """Return the rows of a batch, by table."""
    cells = batch_cells(planned)
    trace = Trace(
        trace_digest=counts.trace_digest,
        window_ns=planned.window_ns,
        native_seconds=counts.native_seconds,
        events=counts.events,
    )
    return {
        "cells": cells_table(cells, counts.totals, trace),
        "windows": windows_table(cells, counts.windows, trace),
        "activities": activities_table(cells, counts.activities, trace),
    }


def batch_cells(planned: PlannedBatch) -> list[Cell]:
    """Return what the specification says about each cell of a batch."""
    coordinate = planned.coordinate
    return [
        Cell(
            cell_id=cell_id,
            policy=policy.name,
            host_paging="shadow" if policy.knobs.shadow else "nested",
            workload=coordinate.workload.label,
            guest=guest_label(coordinate.guest),
            guest_fields=asdict(coordinate.guest),
            replicate=coordinate.replicate,
            seed=planned.seed,
        )
        for policy, cell_id in zip(planned.policies, planned.cell_ids, strict=True)
    ]


def place(planned: PlannedBatch) -> str:
    """Return how messages call a batch."""
    coordinate = planned.coordinate
    return f"{coordinate.workload.label}, {guest_label(coordinate.guest)}, replicate {coordinate.replicate}"
