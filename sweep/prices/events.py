"""Folds the event stream of a recording into its faults: what happened between entering and leaving the handler.

Column `t` counts all instructions of the machine, so that the rows of a fault give the length of the handler, and the
guest's rows around it the way in and out.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import polars as pl

from sweep.exit_codes import TraceError
from sweep.prices.exits import batches
from sweep.prices.tallies import as_tally

_NEEDED: Final = ("t", "workload", "kind", "old", "created", "reason", "by")
_OPTIONAL: Final = ("new", "vcpu")
_SKIPPED: Final = (
    "content", "link", "unlink", "dead_more", "marker_start", "marker_end", "kvm_exit", "kvm_enter", "kvm_root",
)  # fmt: skip
"""Rows that are no event in time, or none of a fault."""
_PREFETCHED: Final = pl.col("old") % 2 == 1
_COUNTED: Final = {
    "spte": (pl.col("kind") == "kvm_set_spte") & ~_PREFETCHED,
    "pref": (pl.col("kind") == "kvm_set_spte") & _PREFETCHED,
    "emul": pl.col("kind") == "kvm_emulate",
    "pw": pl.col("kind") == "kvm_pte_write",
    "get": pl.col("kind") == "kvm_get_page",
    "created": (pl.col("kind") == "kvm_get_page") & pl.col("created"),
    "zap": pl.col("kind") == "kvm_zap",
    "retries": (pl.col("kind") == "kvm_zap") & (pl.col("reason") == "retry"),
    "unsync": pl.col("kind") == "kvm_unsync",
    "syncp": pl.col("kind") == "kvm_sync",
    "rflush": pl.col("kind") == "kvm_remote_flush",
    "gflush": pl.col("kind") == "kvm_flush",
}
"""Feature of a fault -> the rows between its start and its end that count for it; older recordings lack some kinds."""
_SUMMED: Final = {"zap_entries": "kvm_zap_done", "sync_entries": "kvm_sync_done"}
"""Feature of a fault -> the rows whose column `new` is added up for it."""
_GUEST: Final = ("store", "touch", "guest_fault", "cr3", "cr4", "invlpg")
_OPEN_ROWS_MAX: Final = 1 << 20
"""Rows that one fault may have (assumption): the longest that was recorded has some 2,000."""


def fault_tallies(path: Path) -> Iterator[pl.DataFrame]:
    """Yield the tallies of the faults inside the workloads of a recording of events.

    Raises:
        TraceError: the file can't be used, it is of several vCPUs or of nested paging, its times fall back, or a fault
            has no end.
    """
    recording = path.stem.removeprefix("nested-")
    held: pl.DataFrame | None = None
    last = 0
    vcpus: set[int] = set()
    for piece in batches(path, _NEEDED, _OPTIONAL):
        vcpus |= set(piece["vcpu"].drop_nulls().unique()) if "vcpu" in piece.columns else set()
        _check_kind(path, piece, vcpus)
        rows = piece.with_columns(
            pl.col("kind", "workload", "reason", "by").cast(pl.String), pl.col("t").cast(pl.Int64)
        )
        if rows.height and (not rows["t"].is_sorted() or rows["t"][0] < last):
            raise TraceError(f"{path}: column t falls back; it counts instructions and only grows. Record it again")
        last = int(rows["t"][-1]) if rows.height else last
        rows = rows.filter(~pl.col("kind").is_in(_SKIPPED))
        rows = rows if held is None else pl.concat([held, rows])
        rows, held = _cut(rows)
        if held.height > _OPEN_ROWS_MAX:
            raise TraceError(f"{path}: a kvm_fault has no kvm_fault_done in {held.height:,} rows. Record it again")
        yield as_tally(_faults(rows), recording=recording, source="events")
    if held is not None:
        yield as_tally(_faults(held), recording=recording, source="events")


def _check_kind(path: Path, piece: pl.DataFrame, vcpus: set[int]) -> None:
    """Refuse recordings whose instructions are not those of one shadow MMU.

    Raises:
        TraceError: the recording is of several vCPUs, or of nested paging.
    """
    if len(vcpus) > 1:
        raise TraceError(
            f"{path}: events of {len(vcpus)} vCPUs; column t counts the instructions of all, so that no length can be "
            "told. Leave the file out"
        )
    if "ncr3" in set(piece["kind"].cast(pl.String).unique()):
        raise TraceError(f"{path}: events of nested paging (kind ncr3), which has other paths. Leave the file out")


def _cut(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows up to the last start of a fault, and those from one row before it on, which may go on."""
    starts = (rows["kind"] == "kvm_fault").arg_true()
    if starts.is_empty():
        return rows.clear(), rows
    last = int(starts[-1])
    # The row before the start belongs to both: it ends the fault before, and begins the way into this one.
    return rows[:last], rows[max(last - 1, 0) :]


def _faults(rows: pl.DataFrame) -> pl.DataFrame:
    """Return a row per fault that begins and ends in `rows`, inside a workload."""
    is_start = pl.col("kind") == "kvm_fault"
    numbered = rows.with_columns(
        fault=is_start.cum_sum(),
        before_t=pl.col("t").shift(1),
        before_kind=pl.when(pl.col("by") == "kvm").then(None).otherwise(pl.col("kind")).shift(1),
    ).filter(pl.col("fault") > 0)
    done = (pl.col("kind") == "kvm_fault_done").cast(pl.Int64)
    numbered = numbered.with_columns(ended=(done.cum_sum() - done).over("fault"), after=done.shift(1).over("fault") > 0)
    inside = pl.col("ended") == 0
    new = pl.col("new").cast(pl.Int64, strict=False) if "new" in rows.columns else pl.lit(0, pl.Int64)
    faults = numbered.group_by("fault", maintain_order=True).agg(
        pl.col("workload").first(),
        pl.col("t").first().alias("start"),
        pl.col("t").filter(pl.col("kind") == "kvm_fault_done").first().alias("end"),
        pl.col("before_t").first(),
        pl.col("before_kind").first(),
        pl.col("t").filter(pl.col("after")).first().alias("after_t"),
        pl.when(pl.col("by") == "kvm")
        .then(None)
        .otherwise(pl.col("kind"))
        .filter(pl.col("after"))
        .first()
        .alias("next"),
        *(condition.fill_null(value=False).filter(inside).sum().alias(name) for name, condition in _COUNTED.items()),
        *(new.filter(inside & (pl.col("kind") == kind)).sum().alias(name) for name, kind in _SUMMED.items()),
    )
    known = faults.filter(pl.col("workload").is_not_null() & pl.col("end").is_not_null())
    return known.select(
        "workload",
        *(name for name in (*_COUNTED, *_SUMMED) if name != "retries"),
        exit=pl.lit("PF"),
        path=_path(),
        handler=pl.col("end") - pl.col("start"),
        way_in=pl.when(pl.col("before_kind").is_in(_GUEST)).then(pl.col("start") - pl.col("before_t")),
        way_out=pl.when(pl.col("next").is_in(_GUEST)).then(pl.col("after_t") - pl.col("end")),
    )


def _path() -> pl.Expr:
    """Return how a fault was solved, in the words of the recordings of exits."""
    return (
        pl.when(pl.col("pw") > 0)
        .then(pl.lit("emulate"))
        .when(pl.col("retries") > 0)
        .then(pl.lit("unprotect_retry"))
        .when(pl.col("emul") > 0)
        .then(pl.lit("emulate"))
        .when(pl.col("next") == "guest_fault")
        .then(pl.lit("inject_or_spurious"))
        .otherwise(pl.lit("fixed"))
    )
