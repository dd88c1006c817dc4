"""One run for those who read: tables as LazyFrames, and where they come from."""

import json
from pathlib import Path
from typing import Any, Final

import polars as pl

from results.cost_model import CostModel, cost_model_from_mapping
from results.store import RunStore
from results.summary import price_run, summarize

COSTS_FILE: Final = "costs.json"
"""The cost model that the specification names, as the last start of the sweep read it."""


def own_costs(store: RunStore) -> CostModel | None:
    """Return the prices that a run carries, or None for a run of a program that did not write them."""
    if not store.storage.exists(COSTS_FILE):
        return None
    return cost_model_from_mapping(json.loads(store.storage.read(COSTS_FILE)))


class Run:
    """A run under `runs/`: cells, windows and failures as polars LazyFrames with the columns of results/columns.py."""

    def __init__(self, path: str | Path) -> None:
        self._store = RunStore(path)
        self.name = self._store.name
        self.spec: dict[str, Any] = self._store.spec()
        self.provenance: list[dict[str, Any]] = self._store.provenance()

    def cells(self) -> pl.LazyFrame:
        """Return one row per finished cell: counters in total."""
        return self._store.scan_cells()

    def windows(self) -> pl.LazyFrame:
        """Return one row per finished cell and window: counters in that window."""
        return self._store.scan_windows()

    def failures(self) -> pl.LazyFrame:
        """Return one row per cell that has failed and has not succeeded since."""
        return self._store.failures()

    def orphans(self) -> list[str]:
        """Return the files of the run that no commit knows."""
        return self._store.orphans()

    def priced(self, cost_model: CostModel) -> pl.DataFrame:
        """Return one row per cell with its times under `cost_model`."""
        return price_run(self._store, cost_model)

    def summary(self, cost_model: CostModel, baseline: str) -> pl.DataFrame:
        """Return one row per workload, guest and policy, with differences to `baseline`."""
        return summarize(self._store, cost_model, baseline)


def open_run(path: str | Path) -> Run:
    """Open the run at `path`, a folder or a URL such as s3://bucket/run.

    Raises:
        StoreError: there is no run.
    """
    return Run(path)
