"""Turns a recording of a real KVM (directory layout of docs/how-to/record-kvm.md) into layer-2 events.

A recording is one ordered stream of what the guest did and what KVM did about it. The guest's rows become events; KVM's
rows are kept beside them, so that the reactions of an engine can be compared with those of the machine.

What the mapping decides:

* A touch that is the access of the store in the next row is no event of its own: the store is the access. Where such
  a store does not go through the direct map, the touch stays, marked `USER_VA`: it only says where the store goes.
* Rows of one `rep stos` become one STORE. A page clear whose tail the recorder did not list (it stops 128 stores after
  the death of a table) is given its full length, because the instruction always clears the whole page.
* Accessed and dirty bits that KVM set in the guest's entry become CONTENT: the guest stored nothing.
* `unlink` and `dead_more` carry nothing that an engine can see, and are dropped.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from engine.events import EVENT, EVENT_FORMAT_VERSION, Events
from engine.vocabulary import Access, Event, Instruction
from sweep.trace.errors import TraceError

DIRECT_MAP_BASE: Final = 0xFFFF_8880_0000_0000
USER_END: Final = 1 << 47
PAGE_BYTES: Final = 4096
ENTRY_BYTES: Final = 8
CLEAR_PAGE: Final = "clear_page_rep"
"""The guest kernel's function that clears exactly one page with one `rep stosq`."""

_COLUMNS: Final = (
    "seq", "t", "workload", "kind", "addr", "old", "new", "size", "level", "live", "by", "insn", "function", "access",
)  # fmt: skip
_KVM_COLUMNS: Final = ("reason", "created", "role")
_INSN: Final = {i.name.lower(): int(i) for i in Instruction}
_TOUCH_ACCESS: Final = {
    "R": int(Access.READ),
    "W": int(Access.WRITE),
    "RW": int(Access.READ | Access.WRITE),
    "X": int(Access.FETCH),
}
_KIND: Final = {
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
_MARKERS: Final = ("marker_start", "marker_end")


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
    guest = _guest_rows(rows)
    events, row = _to_events(guest)
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
    known = {*_KIND, "unlink", "dead_more"}
    _check(path, rows.filter(~pl.col("kind").cast(pl.String).str.starts_with("kvm_")), column="kind", known=known)
    stores = rows.filter(pl.col("kind") == "store")
    _check(path, stores, column="insn", known={*_INSN, "kvm_ad", "kvm_other"})
    _check(path, rows.filter(pl.col("kind") == "touch"), column="access", known=set(_TOUCH_ACCESS))
    return rows


def _check(path: Path, rows: pl.DataFrame, *, column: str, known: set[str]) -> None:
    found = rows.group_by(column).agg(pl.col("seq").min()).sort("seq")
    for value, seq in found.rows():
        if value not in known:
            raise TraceError(f"{path}: row {seq}: {column} {value!r} is not one of {', '.join(sorted(known))}")


def _guest_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the guest's rows with the columns that `_to_events` needs; one row per event."""
    rows = _guest_fault_access(rows)
    kept = pl.col("kind").is_in(list(_KIND))
    guest = rows.filter(kept).with_columns(
        is_store=pl.col("kind") == "store",
        is_touch=pl.col("kind") == "touch",
        writes=pl.col("access").is_in(["W", "RW"]).fill_null(value=False),
    )
    guest = _pair_touches_with_stores(guest)
    guest = _name_store_addresses(guest)
    return _merge_rep(guest)


def _guest_fault_access(rows: pl.DataFrame) -> pl.DataFrame:
    """Add `fault_access`: from the error code of KVM's last fault at that address, else from the next touch there."""
    code = pl.col("old")
    bits = (
        pl.when(code & 2 != 0)
        .then(int(Access.WRITE))
        .when(code & 16 != 0)
        .then(int(Access.FETCH))
        .otherwise(int(Access.READ))
    ) | pl.when(code & 4 != 0).then(int(Access.USER)).otherwise(0)
    faults = rows.filter(pl.col("kind") == "guest_fault").select("seq", "addr", page=pl.col("addr") // PAGE_BYTES)
    seen = rows.filter(pl.col("kind") == "kvm_fault").select("seq", "addr", from_kvm=bits.cast(pl.UInt8))
    touch = pl.col("access").cast(pl.String).replace_strict(_TOUCH_ACCESS, return_dtype=pl.UInt8, default=0)
    touches = rows.filter(pl.col("kind") == "touch").select(
        "seq", page=pl.col("addr") // PAGE_BYTES, from_touch=touch & ~pl.lit(int(Access.READ), pl.UInt8)
    )
    joined = faults.join_asof(seen, on="seq", by="addr", strategy="backward", check_sortedness=False)
    joined = joined.join_asof(touches, on="seq", by="page", strategy="forward", check_sortedness=False)
    guessed = pl.when(pl.col("from_touch") == 0).then(int(Access.READ)).otherwise(pl.col("from_touch"))
    user = pl.when(pl.col("addr") < USER_END).then(int(Access.USER)).otherwise(0)
    access = pl.coalesce(pl.col("from_kvm"), guessed | user, int(Access.READ) | user).cast(pl.UInt8)
    return rows.join(joined.select("seq", fault_access=access), on="seq", how="left", maintain_order="left")


def _pair_touches_with_stores(guest: pl.DataFrame) -> pl.DataFrame:
    """Drop touches that are the access of the next row's store; keep, as `announces`, those of other addresses."""
    in_page = PAGE_BYTES - 1
    next_addr = pl.col("addr").shift(-1)
    same_place = (pl.col("addr") & in_page) == (next_addr & in_page)
    same_page = pl.col("new").is_null() | (pl.col("new") == next_addr)
    emulated = (pl.col("insn") != "kvm_ad").fill_null(value=True).shift(-1)
    paired = pl.col("is_touch") & pl.col("writes") & pl.col("is_store").shift(-1) & same_place & same_page & emulated
    guest = guest.with_columns(paired=paired.fill_null(value=False), store_addr=next_addr)
    direct = pl.col("addr") - pl.lit(DIRECT_MAP_BASE, pl.UInt64) == pl.col("store_addr")
    guest = guest.with_columns(
        announces=pl.col("paired") & ~direct, covered=pl.col("paired").shift(1, fill_value=False)
    )
    return guest.filter(~(pl.col("paired") & direct))


def _name_store_addresses(guest: pl.DataFrame) -> pl.DataFrame:
    """Add `user_va`: the last write touch of the stored page was not through the direct map."""
    touches = guest.filter(pl.col("is_touch") & pl.col("writes")).select(
        "seq",
        gfn=pl.coalesce(pl.when(pl.col("announces")).then(pl.col("store_addr")), pl.col("new")) // PAGE_BYTES,
        elsewhere=pl.col("addr") // PAGE_BYTES,
    )
    touches = touches.filter(pl.col("gfn").is_not_null())
    direct = pl.lit(DIRECT_MAP_BASE // PAGE_BYTES, pl.UInt64)
    touches = touches.with_columns(elsewhere=pl.col("elsewhere") - direct != pl.col("gfn"))
    stores = guest.filter(pl.col("is_store")).select("seq", gfn=pl.col("addr") // PAGE_BYTES)
    stores = stores.join_asof(touches, on="seq", by="gfn", strategy="backward", check_sortedness=False)
    guest = guest.join(stores.select("seq", "elsewhere"), on="seq", how="left", maintain_order="left")
    return guest.with_columns(user_va=pl.col("elsewhere").fill_null(value=False))


def _merge_rep(guest: pl.DataFrame) -> pl.DataFrame:
    """Make one row of the rows of one `rep stos`: same value, width and function, each after the one before."""
    same = [pl.col(name) == pl.col(name).shift(1) for name in ("new", "size", "function", "insn", "live", "by")]
    follows = pl.col("addr") == pl.col("addr").shift(1) + pl.col("size")
    in_page = pl.col("addr") // PAGE_BYTES == pl.col("addr").shift(1) // PAGE_BYTES
    rep = (pl.col("insn") == "rep_stos") & pl.col("is_store")
    # A root is marked live until half of its clear is done, so `live` may change within one instruction.
    continues = pl.all_horizontal(rep, rep.shift(1), follows, in_page, *same[:4], same[5]).fill_null(value=False)
    guest = guest.with_columns(run=(~continues).cum_sum())
    sizes = guest.group_by("run", maintain_order=True).agg(count=pl.len())
    first = guest.unique("run", keep="first", maintain_order=True).with_columns(count=sizes["count"])
    clears = (
        (pl.col("function") == CLEAR_PAGE)
        & (pl.col("insn") == "rep_stos")
        & (pl.col("addr") % PAGE_BYTES == 0)
        & (pl.col("size") == ENTRY_BYTES)
    )
    whole = pl.when(clears.fill_null(value=False)).then(PAGE_BYTES // ENTRY_BYTES).otherwise(pl.col("count"))
    return first.with_columns(count=whole)


def _to_events(guest: pl.DataFrame) -> tuple[Events, npt.NDArray[np.int64]]:
    bits = ((pl.col("insn") == "kvm_ad") | ((pl.col("insn") == "kvm_other") & ~pl.col("covered"))).fill_null(
        value=False
    )
    guest = guest.with_columns(is_content=pl.col("is_store") & bits)
    guest = guest.with_columns(is_store=pl.col("is_store") & ~pl.col("is_content"))
    kind = pl.when("is_content").then(int(Event.CONTENT)).otherwise(_number(pl.col("kind"), _KIND))
    insn = _number(pl.col("insn"), _INSN, default=int(Instruction.OTHER))
    store = pl.col("is_store")
    columns = guest.select(
        seq=pl.col("seq").cast(pl.Int64),
        t=pl.col("t"),
        address=_address(),
        value=_value(guest),
        kind=kind.cast(pl.UInt8),
        insn=pl.when(store).then(insn).otherwise(0).cast(pl.UInt8),
        width=pl.when(store).then(pl.col("size")).otherwise(0).cast(pl.UInt8),
        access=_access(),
        count=pl.when(store).then(pl.col("count")).otherwise(0).cast(pl.UInt16),
    )
    return _with_run_times(columns)


def _number(column: pl.Expr, numbers: dict[str, int], *, default: int = 0) -> pl.Expr:
    return column.cast(pl.String).replace_strict(numbers, return_dtype=pl.UInt8, default=default)


def _address() -> pl.Expr:
    entry = pl.col("is_content") | (pl.col("kind") == "content")
    without = pl.col("kind").is_in(["cr3", "cr4", *_MARKERS])
    whole_entry = pl.col("addr") // ENTRY_BYTES * ENTRY_BYTES
    return pl.when(without).then(pl.lit(0, pl.UInt64)).when(entry).then(whole_entry).otherwise(pl.col("addr"))


def _value(guest: pl.DataFrame) -> pl.Expr:
    names = guest.filter(pl.col("kind") == "marker_start")["workload"].cast(pl.String).to_list()
    ordinal = _number(pl.col("workload"), {name: i for i, name in enumerate(names)}).cast(pl.UInt64)
    window = ordinal * 2 + (pl.col("kind") == "marker_end").cast(pl.UInt64)
    return (
        pl.when(pl.col("kind").is_in(["store", "content"]))
        .then(pl.col("new"))
        .when(pl.col("kind") == "cr3")
        .then(pl.col("addr"))
        .when(pl.col("kind") == "link")
        .then(pl.col("level").cast(pl.UInt64))
        .when(pl.col("kind").is_in(_MARKERS))
        .then(window)
        .otherwise(pl.lit(0, pl.UInt64))
    )


def _access() -> pl.Expr:
    user = (pl.col("addr") < USER_END).cast(pl.UInt8) * int(Access.USER)
    live = (pl.col("is_store") & pl.col("live").fill_null(value=False)).cast(pl.UInt8) * int(Access.LIVE)
    elsewhere = (pl.col("is_store") & pl.col("user_va")) | pl.col("announces")
    own = (
        pl.when("is_touch")
        .then(_number(pl.col("access"), _TOUCH_ACCESS) + user)
        .when(pl.col("kind") == "guest_fault")
        .then(pl.col("fault_access"))
        .otherwise(0)
    )
    return own.cast(pl.UInt8) + live + elsewhere.cast(pl.UInt8) * int(Access.USER_VA)


def _with_run_times(columns: pl.DataFrame) -> tuple[Events, npt.NDArray[np.int64]]:
    """Put a RUN event, with the instructions executed since the last one, before each WINDOW."""
    events = np.zeros(columns.height, dtype=EVENT)
    for name in ("address", "value", "kind", "insn", "width", "access", "count"):
        events[name] = columns[name].fill_null(0).to_numpy()
    row = columns["seq"].to_numpy()
    windows = np.flatnonzero(events["kind"] == int(Event.WINDOW))
    times = columns["t"].to_numpy()[windows].astype(np.uint64)
    run = np.zeros(len(windows), dtype=EVENT)
    run["kind"] = int(Event.RUN)
    run["value"] = np.diff(times, prepend=times[:1])
    return np.insert(events, windows, run), np.insert(row, windows, row[windows])


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
