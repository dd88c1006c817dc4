"""How much of its plan a run holds, for those who read it: an answer of half a run must not look like one of a whole.

The plan is `labels.parquet`, which lists every cell that the specification asks for under each of its names; in a sweep
with `until`, those that the replicates so far ask for. It is written before the first cell is simulated. Without that
file, as in runs that were put together by other programs, the plan is not known, and nothing is said of it.
"""

from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from results.store.labels import LABELS_FILE, has_plain_labels, scan_labels
from results.store.run_store import RunStore
from results.wording import counted

AXES: Final = ("guest", "workload", "policy")
_PLURALS: Final = {"guest": "guests", "workload": "workloads", "policy": "policies"}
_NAMED_MAX: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Completeness:
    """Cells of a run that are there, and those that are planned."""

    cells: int
    """Names that have their cell: equal policies share one."""
    planned: int | None
    """None where the plan is not known."""
    values: dict[str, int]
    """Axis -> how many values are planned."""
    without: dict[str, tuple[str, ...]]
    """Axis -> the planned values of it that have no cell at all."""
    is_being_written: bool

    @property
    def is_complete(self) -> bool:
        """Whether nothing is known to be missing and nobody is at work on the run."""
        return not self.is_being_written and (self.planned is None or self.cells >= self.planned)

    @property
    def extent(self) -> str:
        """How much is there, in few words: of the guests if some have nothing, else of the cells."""
        guests = self.values.get("guest", 0)
        lacking = len(self.without.get("guest", ()))
        if lacking:
            return f"{guests - lacking} of {counted(guests, 'guest')}"
        return self._of_the_cells

    @property
    def _of_the_cells(self) -> str:
        if self.planned is None:
            return f"{counted(self.cells, 'cell')} so far"
        return f"{self.cells:,} of {counted(self.planned, 'cell')}"

    @property
    def line(self) -> str:
        """The sentence that comes before every answer of such a run; empty for a complete one."""
        if self.is_complete:
            return ""
        parts = [self._of_the_cells]
        parts += [
            f"{len(names)} of {self.values[axis]} {_PLURALS[axis]} have none ({_listed(names)})"
            for axis, names in self.without.items()
            if names
        ]
        parts += ["a driver is still at work on it"] if self.is_being_written else []
        return f"INCOMPLETE: {'; '.join(parts)}"

    def content(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        return {
            "cells": self.cells,
            "planned": self.planned,
            **{f"{_PLURALS[axis]}_without": list(self.without.get(axis, ())) for axis in AXES},
            "being_written": self.is_being_written,
            "text": self.line,
        }


def completeness_of(store: RunStore, *, own: bool = False) -> Completeness:
    """Return how much of its plan a run holds; `own` if it is this process that holds the run's lock.

    Raises:
        StoreError: a file of the run can't be read.
    """
    is_being_written = not own and _is_being_written(store)
    rows = sum(part.rows for part in store.manifest.parts("cells"))
    if not store.storage.exists(LABELS_FILE):
        return Completeness(cells=rows, planned=None, values={}, without={}, is_being_written=is_being_written)
    if has_plain_labels(store):
        return Completeness(cells=rows, planned=rows, values={}, without={}, is_being_written=is_being_written)
    labels = scan_labels(store.storage).select("cell_id", *AXES)
    there = store.scan("cells").select("cell_id").unique()
    is_there = pl.col("is_there").is_not_null()
    marked = labels.join(
        there.with_columns(is_there=pl.lit(value=True)), on="cell_id", how="left", maintain_order="left"
    )
    counts = [marked.group_by(axis, maintain_order=True).agg(is_there.sum().alias("there"), pl.len()) for axis in AXES]
    tables = dict(zip(AXES, pl.collect_all(counts, engine="streaming"), strict=True))
    first = tables[AXES[0]]
    return Completeness(
        cells=int(first["there"].sum()),
        planned=int(first["len"].sum()),
        values={axis: table.height for axis, table in tables.items()},
        without={axis: tuple(table.filter(pl.col("there") == 0)[axis].to_list()) for axis, table in tables.items()},
        is_being_written=is_being_written,
    )


def _is_being_written(store: RunStore) -> bool:
    """Say whether a driver holds the run: others that hold it for a moment, to compact it, leave no open record."""
    records = store.provenance()
    return bool(records) and "ended" not in records[-1] and store.storage.is_locked() is True


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join([*names[:_NAMED_MAX], *(["…"] if len(names) > _NAMED_MAX else [])])
