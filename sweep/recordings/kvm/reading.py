"""Turns a recording of a real KVM (directory layout of docs/how-to/record-kvm.md) into layer-2 events.

A recording is one ordered stream of what the guest did and what KVM did about it. The guest's rows become events; KVM's
rows are kept beside them, so that the reactions of an engine can be compared with those of the machine.

The recording is converted piece by piece (sweep.recordings.kvm.pieces), so that an import needs no more memory for a
longer one; the events do not depend on the pieces.

`unlink` and `dead_more` carry nothing that an engine can see, and are dropped. sweep.recordings.kvm.rows and
sweep.recordings.kvm.events say what else the mapping decides.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from engine.events import EVENT, EVENT_FORMAT_VERSION, Events
from sweep.exit_codes import TraceError
from sweep.recordings.kvm.events import WindowsBefore, to_events
from sweep.recordings.kvm.pieces import KVM_COLUMNS, MARKERS, PIECE_ROWS, check_columns, pieces
from sweep.recordings.kvm.rows import RowsBefore, guest_rows
from sweep.recordings.store import trace_file

_KEPT_OF_KVM: Final = (
    "seq", "workload", "kind", "addr", "old", "new", "size", "level", "insn", "function", "access", *KVM_COLUMNS,
)  # fmt: skip


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """What the rows of one piece became."""

    events: Events
    row: npt.NDArray[np.int64]
    kvm: pl.DataFrame
    markers: pl.DataFrame


def load_events(path: Path, *, include_boot: bool = True, piece_rows: int = PIECE_ROWS) -> KvmTruth:
    """Read the whole recording at `path`; without boot it starts at the first marker: content rows give the state.

    Raises:
        TraceError: a column is missing, or a row has a kind, an instruction class or an access that is not known.
    """
    found = list(_convert(path, piece_rows=piece_rows, kept=None if include_boot else _after_boot(path)))
    row = np.concatenate([piece.row for piece in found])
    return KvmTruth(
        events=np.concatenate([piece.events for piece in found]),
        row=row,
        kvm=pl.concat([piece.kvm for piece in found]),
        markers=_markers(pl.concat([piece.markers for piece in found]), row),
    )


def import_kvm_truth(recording: Path, output: Path) -> None:
    """Store the guest's events of a recording as a layer-2 trace; the file appears whole or not at all.

    Raises:
        TraceError: the recording can't be used (as in `load_events`), or `output` can't be written.
    """
    if output.exists() and recording.exists() and output.samefile(recording):
        raise TraceError(f"{output}: is the recording itself; name another file with -o")
    about = {b"format": b"layer-2", b"version": str(EVENT_FORMAT_VERSION).encode(), b"source": recording.name.encode()}
    fields = [(name, pa.from_numpy_dtype(EVENT[name])) for name in EVENT.names or ()]
    schema = pa.schema(fields, metadata=about)
    with trace_file(output) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for piece in _convert(recording):
            columns = [np.ascontiguousarray(piece.events[name]) for name in schema.names]
            writer.write_table(pa.table(columns, schema=schema))


def _convert(path: Path, *, piece_rows: int = PIECE_ROWS, kept: pl.Expr | None = None) -> Iterator[_Piece]:
    """Yield what the pieces of a recording become, in order."""
    rows_before, windows_before, done = RowsBefore(), WindowsBefore(), 0
    for rows, ahead in pieces(path, piece_rows=piece_rows, kept=kept):
        guest = guest_rows(rows, ahead, rows_before)
        events, row = to_events(guest, windows_before)
        markers = guest.filter(pl.col("kind").is_in(MARKERS)).select("kind", "workload", "seq")
        yield _Piece(events=events, row=row, kvm=_kvm_rows(rows, row, done), markers=markers)
        done += len(events)


def _after_boot(path: Path) -> pl.Expr:
    """Return what is true for rows from the first marker on, and for the load of the root that is used there."""
    check_columns(path)
    rows = pl.scan_parquet(path).select("seq", kind=pl.col("kind").cast(pl.String))
    starts = rows.filter(pl.col("kind") == "marker_start").select(pl.col("seq").min())
    start = pl.lit(starts.collect().item(), pl.Int64)
    loads = rows.filter((pl.col("kind") == "cr3") & (pl.col("seq") < start)).select(pl.col("seq").max())
    root = pl.lit(loads.collect().item(), pl.Int64)
    return pl.any_horizontal(pl.col("seq") >= start, pl.col("seq") == root)


def _kvm_rows(rows: pl.DataFrame, row: npt.NDArray[np.int64], done: int) -> pl.DataFrame:
    """Return KVM's rows of a piece; `done` is the number of events before it."""
    kvm = rows.filter(pl.col("kind").cast(pl.String).str.starts_with("kvm_"))
    following = np.searchsorted(row, kvm["seq"].to_numpy().astype(np.int64)) + done
    return kvm.select(_KEPT_OF_KVM).with_columns(event=pl.Series(following, dtype=pl.Int64))


def _markers(markers: pl.DataFrame, row: npt.NDArray[np.int64]) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    starts = markers.filter(pl.col("kind") == "marker_start").select("workload", "seq").rows()
    ends = dict(markers.filter(pl.col("kind") == "marker_end").select("workload", "seq").rows())
    for name, seq in starts:
        last = ends.get(name, int(row[-1]))
        found[str(name)] = (
            int(np.searchsorted(row, seq, side="right")),
            int(np.searchsorted(row, last, side="right")),
        )
    return found
