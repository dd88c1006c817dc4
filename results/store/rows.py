"""Rows out of counters: what a worker knows about its batch becomes tables of the right types."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from engine.vocabulary import ACTIVITY_NAMES, COUNTER_NAMES
from results.store.columns import IDENTITY, PAGINGS
from results.store.schema import table_schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What the specification says about one cell; the fields are the columns of the same names.

    `guest_fields` holds a value for each of `engine.guests.GUEST_FIELDS`, which are columns of their own.
    """

    cell_id: str
    policy: str
    host_paging: str
    workload: str
    guest: str
    guest_fields: Mapping[str, Any]
    replicate: int
    seed: int

    def __post_init__(self) -> None:
        if self.host_paging not in PAGINGS:
            allowed = ", ".join(PAGINGS)
            raise ValueError(f"cell {self.cell_id}: host_paging is '{self.host_paging}'. Allowed: {allowed}")

    def row(self) -> dict[str, Any]:
        """Return the columns of the cell."""
        own = asdict(self)
        del own["guest_fields"]
        return own | dict(self.guest_fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What all policies of a batch have met."""

    trace_digest: str
    window_ns: int
    native_seconds: float
    events: int


Counts = npt.NDArray[np.int64]


def cells_table(cells: Sequence[Cell], totals: Counts, trace: Trace) -> pa.Table:
    """Return the rows of a batch; `totals[lane, counter]` belongs to `cells[lane]`."""
    _check_shape("totals", totals.shape, (len(cells), len(COUNTER_NAMES)))
    return _table("cells", _identity(cells, trace, np.arange(len(cells))), {}, totals)


def windows_table(cells: Sequence[Cell], windows: Counts, trace: Trace) -> pa.Table:
    """Return the rows of a batch, a cell's windows together; `windows[window, lane, counter]`."""
    count = windows.shape[0]
    _check_shape("windows", windows.shape, (count, len(cells), len(COUNTER_NAMES)))
    window = np.arange(count, dtype=np.int64)
    start = window * trace.window_ns
    native_ns = round(trace.native_seconds * 1e9)
    length = np.clip(native_ns - start, 0, trace.window_ns)
    place = {
        "window": np.tile(window.astype(np.int32), len(cells)),
        "start_ns": np.tile(start, len(cells)),
        "length_ns": np.tile(length, len(cells)),
    }
    by_cell = windows.transpose(1, 0, 2).reshape(-1, len(COUNTER_NAMES))
    lanes = np.repeat(np.arange(len(cells)), count)
    return _table("windows", _identity(cells, trace, lanes), place, by_cell)


def activities_table(cells: Sequence[Cell], activities: Counts, trace: Trace) -> pa.Table:
    """Return the rows of a batch, a cell's activities together; `activities[activity, lane, counter]`.

    Whether a cell has a row for an activity depends on its own counters only, not on the batch that it was in.
    """
    _check_shape("activities", activities.shape, (len(ACTIVITY_NAMES), len(cells), len(COUNTER_NAMES)))
    lanes, kinds = np.nonzero(activities.any(axis=2).T)
    names = pa.array(ACTIVITY_NAMES).take(pa.array(kinds))
    return _table("activities", _identity(cells, trace, lanes), {"activity": names}, activities[kinds, lanes])


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedBatch:
    """Why a batch has no counters; the fields are the columns of the same names."""

    attempt: int
    fingerprint: str
    error: str
    message: str
    traceback: str
    host: str
    stderr: str
    command: str


def failures_table(cells: Sequence[Cell], failed: FailedBatch) -> pa.Table:
    """Return one row per cell of a batch that failed."""
    rows = [cell.row() | asdict(failed) for cell in cells]
    return pa.Table.from_pylist(rows, schema=table_schema("failures"))


def _identity(cells: Sequence[Cell], trace: Trace, lanes: Counts) -> dict[str, Any]:
    types = {field.name: field.type for field in table_schema("cells")}
    rows = [cell.row() | asdict(trace) for cell in cells]
    return {c.name: pa.array([row[c.name] for row in rows], types[c.name]).take(pa.array(lanes)) for c in IDENTITY}


def _table(name: str, identity: Mapping[str, Any], place: Mapping[str, Any], counts: Counts) -> pa.Table:
    counters = {counter: np.ascontiguousarray(counts[:, i]) for i, counter in enumerate(COUNTER_NAMES)}
    return pa.table({**identity, **place, **counters}, schema=table_schema(name))


def _check_shape(name: str, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if found != expected:
        raise ValueError(f"{name} has shape {found}, expected {expected}: one row per cell, one column per counter")
