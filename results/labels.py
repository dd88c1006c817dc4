"""A run as its present specification sees it: the cells that it asks for, under the names that it gives them.

A cell is stored once, under the name that it was first simulated by, for names change no answer. A policy that was
renamed, or that has the same knobs as another one, gets its rows here.
"""

from typing import Final

import polars as pl

from results.store import RunStore

LABELS_FILE: Final = "labels.parquet"
LABELS: Final = ("policy", "workload", "guest", "replicate")
"""The names that a specification gives to a cell, beside its id in that file."""
_ACTIVITIES: Final = "activities"
LABELS_SCHEMA: Final = pl.Schema(
    {"cell_id": pl.String, "policy": pl.String, "workload": pl.String, "guest": pl.String, "replicate": pl.Int32}
)


class LabelledRun:
    """The tables of a run under the labels of its specification; what summaries read."""

    def __init__(self, store: RunStore) -> None:
        self._store = store
        there = store.storage.exists(LABELS_FILE)
        self._labels = store.storage.scan_parquet([LABELS_FILE], LABELS_SCHEMA) if there else None

    def scan_cells(self) -> pl.LazyFrame:
        """Return the table of cells."""
        return self._labelled(self._store.scan_cells())

    def scan_windows(self) -> pl.LazyFrame:
        """Return the table of windows."""
        return self._labelled(self._store.scan_windows())

    def scan_activities(self) -> pl.LazyFrame | None:
        """Return the table of activities, or None if the run has no such rows: older programs did not write them."""
        if not self._store.manifest.files(_ACTIVITIES):
            return None
        return self._labelled(self._store.scan(_ACTIVITIES))

    def _labelled(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        if self._labels is None:
            return rows
        columns = rows.collect_schema().names()
        # Names of one cell get ids of their own, so that joins by cell_id keep them apart.
        twin = pl.int_range(pl.len()).over("cell_id")
        labels = self._labels.with_columns(
            _id=pl.when(twin == 0).then("cell_id").otherwise(pl.format("{}~{}", "cell_id", twin)),
        )
        joined = rows.drop(LABELS).join(labels, on="cell_id", how="inner", maintain_order="left")
        return joined.with_columns(cell_id="_id").select(columns)
