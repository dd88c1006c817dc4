"""Turns prepared rows of a recording into layer-2 events.

Accessed and dirty bits that KVM set in the guest's entry become CONTENT: the guest stored nothing. The same holds for
data that KVM wrote to a former table, unless it is an access of the guest that KVM carried out.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.events import EVENT, Events
from engine.vocabulary import Access, Event, Instruction
from sweep.recordings.kvm.pieces import ENTRY_BYTES, INSNS, KIND, MARKERS, TOUCH_ACCESS, USER_END


@dataclass(slots=True, kw_only=True)
class WindowsBefore:
    """What a marker needs to know of the markers before it."""

    ordinal: dict[str, int] = field(default_factory=dict)
    """Workload -> how many workloads began before it."""
    begun: int = 0
    time: int | None = None
    """When the last marker was."""


def to_events(guest: pl.DataFrame, before: WindowsBefore) -> tuple[Events, npt.NDArray[np.int64]]:
    """Return the events of prepared rows, and of each event the row that it stands for; bring `before` up to date."""
    bits = ((pl.col("insn") == "kvm_ad") | ((pl.col("insn") == "kvm_other") & ~pl.col("covered"))).fill_null(
        value=False
    )
    guest = guest.with_columns(is_content=pl.col("is_store") & bits)
    guest = guest.with_columns(is_store=pl.col("is_store") & ~pl.col("is_content"))
    kind = pl.when("is_content").then(int(Event.CONTENT)).otherwise(_number(pl.col("kind"), KIND))
    insn = _number(pl.col("insn"), INSNS, default=int(Instruction.OTHER))
    store = pl.col("is_store")
    columns = guest.select(
        seq=pl.col("seq").cast(pl.Int64),
        t=pl.col("t"),
        address=_address(),
        value=_value(),
        kind=kind.cast(pl.UInt8),
        insn=pl.when(store).then(insn).otherwise(0).cast(pl.UInt8),
        width=pl.when(store).then(pl.col("size")).otherwise(0).cast(pl.UInt8),
        access=_access(),
        count=pl.when(store).then(pl.col("count")).otherwise(0).cast(pl.UInt16),
    )
    return _with_run_times(columns, _windows(guest, before), before)


def _number(column: pl.Expr, numbers: dict[str, int], *, default: int = 0) -> pl.Expr:
    return column.cast(pl.String).replace_strict(numbers, return_dtype=pl.UInt8, default=default)


def _address() -> pl.Expr:
    entry = pl.col("is_content") | (pl.col("kind") == "content")
    without = pl.col("kind").is_in(["cr3", "cr4", *MARKERS])
    whole_entry = pl.col("addr") // ENTRY_BYTES * ENTRY_BYTES
    return pl.when(without).then(pl.lit(0, pl.UInt64)).when(entry).then(whole_entry).otherwise(pl.col("addr"))


def _value() -> pl.Expr:
    return (
        pl.when(pl.col("kind").is_in(["store", "content"]))
        .then(pl.col("new"))
        .when(pl.col("kind") == "cr3")
        .then(pl.col("addr"))
        .when(pl.col("kind") == "link")
        .then(pl.col("level").cast(pl.UInt64))
        .otherwise(pl.lit(0, pl.UInt64))
    )


def _windows(guest: pl.DataFrame, before: WindowsBefore) -> list[int]:
    """Number the windows that markers start: two per workload, inside and after it."""
    windows = []
    for kind, workload in guest.filter(pl.col("kind").is_in(MARKERS)).select("kind", "workload").rows():
        if kind == "marker_start":
            before.ordinal[workload] = before.begun
            before.begun += 1
        windows.append(before.ordinal.get(workload, 0) * 2 + int(kind == "marker_end"))
    return windows


def _access() -> pl.Expr:
    user = (pl.col("addr") < USER_END).cast(pl.UInt8) * int(Access.USER)
    live = (pl.col("is_store") & pl.col("live").fill_null(value=False)).cast(pl.UInt8) * int(Access.LIVE)
    elsewhere = (pl.col("is_store") & pl.col("user_va")) | pl.col("announces")
    own = (
        pl.when("is_touch")
        .then(_number(pl.col("access"), TOUCH_ACCESS) + user)
        .when(pl.col("kind") == "guest_fault")
        .then(pl.col("fault_access"))
        .otherwise(0)
    )
    return own.cast(pl.UInt8) + live + elsewhere.cast(pl.UInt8) * int(Access.USER_VA)


def _with_run_times(
    columns: pl.DataFrame, window: list[int], before: WindowsBefore
) -> tuple[Events, npt.NDArray[np.int64]]:
    """Number the WINDOW events; before each, put a RUN event with the instructions executed since the last one."""
    events = np.zeros(columns.height, dtype=EVENT)
    for name in ("address", "value", "kind", "insn", "width", "access", "count"):
        events[name] = columns[name].fill_null(0).to_numpy()
    row = columns["seq"].to_numpy()
    windows = np.flatnonzero(events["kind"] == int(Event.WINDOW))
    events["value"][windows] = window
    times = columns["t"].to_numpy()[windows].astype(np.uint64)
    run = np.zeros(len(windows), dtype=EVENT)
    run["kind"] = int(Event.RUN)
    if len(windows):
        first = times[0] if before.time is None else np.uint64(before.time)
        run["value"] = np.diff(times, prepend=first)
        before.time = int(times[-1])
    return np.insert(events, windows, run), np.insert(row, windows, row[windows])
