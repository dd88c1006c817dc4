"""Which cells the present specification of a run asks for, and by which names; results/labels.py reads it."""

from pathlib import Path

import polars as pl

from results.labels import LABELS, LABELS_FILE
from sweep.plan import Plan
from sweep.spec import guest_label


def write_labels(run: Path, plan: Plan) -> None:
    """Write which cell goes by which names; the file is replaced whole."""
    rows: dict[str, list[str | int]] = {name: [] for name in ("cell_id", *LABELS)}
    for batch in plan.batches:
        for policy, cell_id in zip(batch.policies, batch.cell_ids, strict=True):
            rows["cell_id"].append(cell_id)
            rows["policy"].append(policy.name)
            rows["workload"].append(batch.coordinate.workload.label)
            rows["guest"].append(guest_label(batch.coordinate.guest))
            rows["replicate"].append(batch.coordinate.replicate)
    temporary = run / f".{LABELS_FILE}.tmp"
    pl.DataFrame(rows, schema_overrides={"replicate": pl.Int32}).write_parquet(temporary)
    temporary.replace(run / LABELS_FILE)
