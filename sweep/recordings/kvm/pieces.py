"""Reads a recording of a real KVM piece by piece, cut only where nothing that becomes one event spans the cut.

Memory depends on the size of a piece and on `REACH_ROWS`, not on the length of the recording.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from engine.vocabulary import Access, Event, Instruction
from sweep.exit_codes import TraceError

USER_END: Final = 1 << 47
PAGE_BYTES: Final = 4096
ENTRY_BYTES: Final = 8
REACH_ROWS: Final = 8192
"""How many rows apart a fault and the row that says its access may be; farther away, an access is another one.

Design choice: in recordings of up to 4.6 million rows they are at most 838 apart.
"""
CLEAR_PAGE: Final = "clear_page_rep"
"""The guest kernel's function that clears exactly one page with one `rep stosq`."""

INSNS: Final = {i.name.lower(): int(i) for i in Instruction}
TOUCH_ACCESS: Final = {
    "R": int(Access.READ),
    "W": int(Access.WRITE),
    "RW": int(Access.READ | Access.WRITE),
    "X": int(Access.FETCH),
}
KIND: Final = {
    "store": int(Event.STORE),
    "touch": int(Event.TOUCH),
    "guest_fault": int(Event.GUEST_FAULT),
    "cr3": int(Event.CR3),
    "cr4": int(Event.FLUSH_ALL),
    "invlpg": int(Event.INVLPG),
    "link": int(Event.LINK),
    "content": int(Event.CONTENT),
    "marker_start": int(Event.WINDOW),
    "marker_end": int(Event.WINDOW),
}
MARKERS: Final = ("marker_start", "marker_end")


PIECE_ROWS: Final = 1 << 17
"""Rows of a piece: tens of MB while it is converted (design choice)."""
KVM_COLUMNS: Final = ("reason", "created", "role")
_COLUMNS: Final = (
    "seq", "t", "workload", "kind", "addr", "old", "new", "size", "level", "live", "by", "insn", "function", "access",
    *KVM_COLUMNS,
)  # fmt: skip
_TEXT: Final = ("workload", "kind", "by", "insn", "function", "access", "reason")
_READ_BYTES: Final = 1 << 20
"""Bytes of a column that are read at once, so that a recording with one huge row group needs no more memory."""


def pieces(
    path: Path, *, piece_rows: int = PIECE_ROWS, kept: pl.Expr | None = None
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Yield the rows of a recording in order; with each piece, the following rows, at least `REACH_ROWS` if there are.

    Rows for which `kept` is not true are left out.

    Raises:
        TraceError: a column is missing, a row is out of order or has a word that is not known, or the file is damaged.
    """
    check_columns(path)
    held: pl.DataFrame | None = None
    for batch in _batches(path, piece_rows):
        rows = batch if kept is None else batch.filter(kept)
        held = rows if held is None else pl.concat([held, rows])
        end = _safe_cut(held)
        if end:
            yield held[:end], held[end:]
            held = held[end:]
    if held is not None:
        yield held, held.clear()


def check_columns(path: Path) -> None:
    """Check that the file has the columns of a recording."""
    found = pl.read_parquet_schema(path)
    missing = [name for name in _COLUMNS if name not in found]
    if missing:
        raise TraceError(
            f"{path}: no column {', '.join(missing)}; found {', '.join(found)}. See docs/how-to/record-kvm.md"
        )


def _batches(path: Path, piece_rows: int) -> Iterator[pl.DataFrame]:
    """Yield checked rows, at most `piece_rows` at once; an empty batch comes first."""
    last = -1
    try:
        with pq.ParquetFile(path, buffer_size=_READ_BYTES, pre_buffer=False) as file:
            yield _frame(file.schema_arrow.empty_table().select(_COLUMNS))
            for batch in file.iter_batches(piece_rows, columns=list(_COLUMNS), use_threads=False):
                rows = _frame(pa.Table.from_batches([batch]).select(_COLUMNS))
                _check_rows(path, rows, last)
                last = rows["seq"][-1] if rows.height else last
                yield rows
    except pa.ArrowException as error:
        raise TraceError(f"{path}: is damaged: {error}; copy or record it again") from error


def _frame(table: Any) -> pl.DataFrame:
    rows = pl.DataFrame(table)
    return rows.with_columns(pl.col(name).cast(pl.String).cast(pl.Categorical) for name in _TEXT)


def _check_rows(path: Path, rows: pl.DataFrame, last: int) -> None:
    """Check the order of the rows and the words that decide what a row becomes."""
    seq = pl.col("seq").cast(pl.Int64)
    late = rows.filter(~(seq > seq.shift(1, fill_value=last)).fill_null(value=False))["seq"]
    if len(late):
        raise TraceError(f"{path}: row {late[0]}: seq is not above that of the row before; sort the rows by seq first")
    known = {*KIND, "unlink", "dead_more"}
    _check(path, rows.filter(~pl.col("kind").cast(pl.String).str.starts_with("kvm_")), column="kind", known=known)
    stores = rows.filter(pl.col("kind") == "store")
    _check(path, stores, column="insn", known={*INSNS, "kvm_ad", "kvm_other"})
    _check(path, rows.filter(pl.col("kind") == "touch"), column="access", known=set(TOUCH_ACCESS))


def _check(path: Path, rows: pl.DataFrame, *, column: str, known: set[str]) -> None:
    found = rows.group_by(column).agg(pl.col("seq").min()).sort("seq")
    for value, seq in found.rows():
        if value not in known:
            raise TraceError(f"{path}: row {seq}: {column} {value!r} is not one of {', '.join(sorted(known))}")


def _safe_cut(rows: pl.DataFrame) -> int:
    """Return the last index with nothing across it and with enough rows after it; 0 if there is none.

    What may span a cut is a touch with the store whose access it is, and the stores of one `rep stos` with the touches
    between them. A store without a name may turn out to be a `rep stos`.
    """
    guest = rows.with_row_index("at").filter(pl.col("kind").is_in(list(KIND)))
    store, touch = pl.col("kind") == "store", pl.col("kind") == "touch"
    rep = (store & pl.col("insn").is_in(["rep_stos", "kvm_other"])).fill_null(value=False)
    one = (store & touch.shift(1, fill_value=False)) | ((store | touch) & rep.shift(1, fill_value=False))
    seq = pl.col("seq").cast(pl.Int64)
    safe = guest.filter(~one & (seq <= rows.select(seq.max()).item() - REACH_ROWS)) if guest.height else guest
    return int(safe["at"][-1]) if safe.height else 0
