"""A run as its present specification sees it: the cells that it asks for, under the names that it gives them.

A cell is stored once, under the name that it was first simulated by, for names change no answer. A policy that was
renamed, or that has the same knobs as another one, gets its rows here.
"""

from pathlib import Path
from typing import Final

import polars as pl

from results.store import RunStore
from sweep.plan import Plan
from sweep.spec import guest_label

LABELS_FILE: Final = "labels.parquet"
_LABELS: Final = ("policy", "workload", "guest", "replicate")


def write_labels(run: Path, plan: Plan) -> None:
    """Write which cell goes by which names; the file is replaced whole."""
    rows: dict[str, list[str | int]] = {name: [] for name in ("cell_id", *_LABELS)}
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


class LabelledRun:
    """The tables of a run under the labels of its specification; what summaries read."""

    def __init__(self, store: RunStore) -> None:
        self._store = store
        path = store.path / LABELS_FILE
        self._labels = pl.scan_parquet(path) if path.exists() else None

    def scan_cells(self) -> pl.LazyFrame:
        """Return the table of cells."""
        return self._labelled(self._store.scan_cells())

    def scan_windows(self) -> pl.LazyFrame:
        """Return the table of windows."""
        return self._labelled(self._store.scan_windows())

    def _labelled(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        if self._labels is None:
            return rows
        columns = rows.collect_schema().names()
        # Names of one cell get ids of their own, so that joins by cell_id keep them apart.
        twin = pl.int_range(pl.len()).over("cell_id")
        labels = self._labels.with_columns(
            _id=pl.when(twin == 0).then("cell_id").otherwise(pl.format("{}~{}", "cell_id", twin)),
        )
        joined = rows.drop(_LABELS).join(labels, on="cell_id", how="inner", maintain_order="left")
        return joined.with_columns(cell_id="_id").select(columns)
