"""What a run keeps of its present specification for those who read it: names of cells, and prices."""

import json

import polars as pl

from results import labels
from results.own_costs import COSTS_FILE
from results.store import RunStore
from sweep.plan import Plan
from sweep.spec import guest_label
from sweep.spec_costs import read_costs


def write_labels(store: RunStore, plan: Plan) -> None:
    """Write which cell goes by which names; the file is replaced whole."""
    rows: dict[str, list[str | int]] = {name: [] for name in ("cell_id", *labels.LABELS)}
    for batch in plan.batches:
        for policy, cell_id in zip(batch.policies, batch.cell_ids, strict=True):
            rows["cell_id"].append(cell_id)
            rows["policy"].append(policy.name)
            rows["workload"].append(batch.coordinate.workload.label)
            rows["guest"].append(guest_label(batch.coordinate.guest))
            rows["replicate"].append(batch.coordinate.replicate)
    labels.write_labels(store.storage, pl.DataFrame(rows, schema=labels.LABELS_SCHEMA))


def write_costs(store: RunStore, name: str) -> None:
    """Write the cost model that the specification names, for readers who have no YAML."""
    store.storage.put(COSTS_FILE, _costs_content(name))


def has_costs(store: RunStore, name: str) -> bool:
    """Say whether the run carries that cost model as it is now."""
    return store.storage.exists(COSTS_FILE) and store.storage.read(COSTS_FILE) == _costs_content(name)


def _costs_content(name: str) -> bytes:
    return (json.dumps(read_costs(name).value, indent=1) + "\n").encode()
