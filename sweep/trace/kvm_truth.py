"""Turns a recording of a real KVM (directory layout of docs/how-to/record-kvm.md) into layer-2 events.

A recording is one ordered stream of what the guest did and what KVM did about it. The guest's rows become events; KVM's
rows are kept beside them, so that the reactions of an engine can be compared with those of the machine.

`unlink` and `dead_more` carry nothing that an engine can see, and are dropped. sweep.trace.kvm_truth_rows and
sweep.trace.kvm_truth_events say what else the mapping decides.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from engine.events import DIRECT_MAP_BASE, EVENT, EVENT_FORMAT_VERSION, Events
from sweep.trace.errors import TraceError
from sweep.trace.kvm_truth_events import to_events
from sweep.trace.kvm_truth_rows import guest_rows
from sweep.trace.kvm_truth_words import INSNS, KIND, TOUCH_ACCESS

_COLUMNS: Final = (
    "seq", "t", "workload", "kind", "addr", "old", "new", "size", "level", "live", "by", "insn", "function", "access",
)  # fmt: skip
_KVM_COLUMNS: Final = ("reason", "created", "role")


@dataclass(frozen=True, slots=True, kw_only=True)
class KvmTruth:
    """One recording: the guest's events and, in order, what KVM did."""

    events: Events
    row: npt.NDArray[np.int64]
    """row[event]: `seq` of the (first) recorded row that the event stands for."""
    kvm: pl.DataFrame
    """The `kvm_*` rows in order; `event` is the index of the first event that follows the row."""
    markers: dict[str, tuple[int, int]]
    """Workload -> index of the first event after its start and of the first event after its end."""
    direct_map_base: int = DIRECT_MAP_BASE


def load_events(path: Path, *, include_boot: bool = True) -> KvmTruth:
    """Read the recording at `path`; without boot it starts at the first marker, whose content rows give the state.

    Raises:
        TraceError: a column is missing, or a row has a kind, an instruction class or an access that is not known.
    """
    rows = _read(path)
    if not include_boot:
        start = rows.filter(pl.col("kind") == "marker_start")["seq"].min()
        root = rows.filter((pl.col("kind") == "cr3") & (pl.col("seq") < start)).tail(1)
        rows = pl.concat([root, rows.filter(pl.col("seq") >= start)])
    guest = guest_rows(rows)
    events, row = to_events(guest)
    kvm = _kvm_rows(rows, row)
    return KvmTruth(events=events, row=row, kvm=kvm, markers=_markers(guest, row))


def import_kvm_truth(recording: Path, output: Path) -> None:
    """Store the guest's events of a recording as a layer-2 trace."""
    truth = load_events(recording)
    columns = {name: np.ascontiguousarray(truth.events[name]) for name in EVENT.names or ()}
    about = {b"format": b"layer-2", b"version": str(EVENT_FORMAT_VERSION).encode(), b"source": recording.name.encode()}
    table = pa.table(columns).replace_schema_metadata(about)
    partial = output.with_name(output.name + ".partial")
    pq.write_table(table, partial, compression="zstd")
    partial.replace(output)


def _read(path: Path) -> pl.DataFrame:
    found = pl.read_parquet_schema(path)
    missing = [name for name in (*_COLUMNS, *_KVM_COLUMNS) if name not in found]
    if missing:
        raise TraceError(
            f"{path}: no column {', '.join(missing)}; found {', '.join(found)}. See docs/how-to/record-kvm.md"
        )
    rows = pl.read_parquet(path, columns=[*_COLUMNS, *_KVM_COLUMNS])
    text = ("workload", "kind", "by", "insn", "function", "access", "reason")
    rows = rows.with_columns(pl.col(name).cast(pl.String).cast(pl.Categorical) for name in text)
    known = {*KIND, "unlink", "dead_more"}
    _check(path, rows.filter(~pl.col("kind").cast(pl.String).str.starts_with("kvm_")), column="kind", known=known)
    stores = rows.filter(pl.col("kind") == "store")
    _check(path, stores, column="insn", known={*INSNS, "kvm_ad", "kvm_other"})
    _check(path, rows.filter(pl.col("kind") == "touch"), column="access", known=set(TOUCH_ACCESS))
    return rows


def _check(path: Path, rows: pl.DataFrame, *, column: str, known: set[str]) -> None:
    found = rows.group_by(column).agg(pl.col("seq").min()).sort("seq")
    for value, seq in found.rows():
        if value not in known:
            raise TraceError(f"{path}: row {seq}: {column} {value!r} is not one of {', '.join(sorted(known))}")


def _kvm_rows(rows: pl.DataFrame, row: npt.NDArray[np.int64]) -> pl.DataFrame:
    kvm = rows.filter(pl.col("kind").cast(pl.String).str.starts_with("kvm_"))
    following = np.searchsorted(row, kvm["seq"].to_numpy().astype(np.int64))
    kept = (
        "seq",
        "workload",
        "kind",
        "addr",
        "old",
        "new",
        "size",
        "level",
        "insn",
        "function",
        "access",
        *_KVM_COLUMNS,
    )
    return kvm.select(*kept).with_columns(event=pl.Series(following, dtype=pl.Int64))


def _markers(guest: pl.DataFrame, row: npt.NDArray[np.int64]) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    starts = guest.filter(pl.col("kind") == "marker_start").select("workload", "seq").rows()
    ends = dict(guest.filter(pl.col("kind") == "marker_end").select("workload", "seq").rows())
    for name, seq in starts:
        last = ends.get(name, int(row[-1]))
        found[str(name)] = (
            int(np.searchsorted(row, seq, side="right")),
            int(np.searchsorted(row, last, side="right")),
        )
    return found
