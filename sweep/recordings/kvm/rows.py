"""Prepares the guest's rows of a recording: one row per event, with what the event must carry.

* A touch that is the access of the store in the next row is no event of its own: the store is the access. Where such
  a store does not go through the direct map, the touch stays, marked `announces`: it only says where the store goes.
* Rows of one `rep stos` become one row. A page clear whose tail the recorder did not list (it stops 128 stores after
  the death of a table) is given its full length, because the instruction always clears the whole page.
* A store that KVM carried out under a name that tells nothing (`kvm_other`) has the instruction of the fault that it
  answers: whether KVM emulates or gives the page up depends on it.
"""

from dataclasses import dataclass, field
from typing import Final

import polars as pl

from engine.events import DIRECT_MAP_BASE
from engine.vocabulary import Access
from sweep.recordings.kvm.pieces import (
    CLEAR_PAGE,
    ENTRY_BYTES,
    INSNS,
    KIND,
    PAGE_BYTES,
    REACH_ROWS,
    TOUCH_ACCESS,
    USER_END,
)

_FAULTS: Final = pl.Schema({"seq": pl.Int64, "addr": pl.UInt64, "from_kvm": pl.UInt8})
_WRITES: Final = pl.Schema({"seq": pl.Int64, "gfn": pl.UInt64, "elsewhere": pl.Boolean})


@dataclass(slots=True, kw_only=True)
class RowsBefore:
    """What rows look back to: as much of the pieces before as can still matter."""

    faults: pl.DataFrame = field(default_factory=_FAULTS.to_frame)
    """KVM's faults of the last `REACH_ROWS` rows."""
    place: int | None = None
    """Where in its page KVM's last fault was."""
    cause: str | None = None
    """The instruction of KVM's last fault."""
    writes: pl.DataFrame = field(default_factory=_WRITES.to_frame)
    """The last write touch of each page of the guest's memory."""


def guest_rows(rows: pl.DataFrame, ahead: pl.DataFrame, before: RowsBefore) -> pl.DataFrame:
    """Return the guest's rows of a piece with the columns that `to_events` needs; one row per event.

    `ahead` holds the `REACH_ROWS` rows after the piece; `before` is brought up to date.
    """
    rows = _name_emulated_stores(_guest_fault_access(rows, ahead, before), before)
    kept = pl.col("kind").is_in(list(KIND))
    guest = rows.filter(kept).with_columns(
        is_store=pl.col("kind") == "store",
        is_touch=pl.col("kind") == "touch",
        writes=pl.col("access").is_in(["W", "RW"]).fill_null(value=False),
    )
    guest = _pair_touches_with_stores(guest)
    guest = _name_store_addresses(guest, before)
    return _merge_rep(guest)


def _guest_fault_access(rows: pl.DataFrame, ahead: pl.DataFrame, before: RowsBefore) -> pl.DataFrame:
    """Add `fault_access`: from the error code of KVM's last fault at that address, else from the next touch there."""
    seq = pl.col("seq").cast(pl.Int64)
    code = pl.col("old")
    bits = (
        pl.when(code & 2 != 0)
        .then(int(Access.WRITE))
        .when(code & 16 != 0)
        .then(int(Access.FETCH))
        .otherwise(int(Access.READ))
    ) | pl.when(code & 4 != 0).then(int(Access.USER)).otherwise(0)
    faults = rows.filter(pl.col("kind") == "guest_fault").select(seq, "addr", page=pl.col("addr") // PAGE_BYTES)
    seen = rows.filter(pl.col("kind") == "kvm_fault").select(seq, "addr", from_kvm=bits.cast(pl.UInt8))
    seen = pl.concat([before.faults, seen])
    before.faults = seen.filter(seq > rows.select(seq.max()).item() - REACH_ROWS) if rows.height else seen
    touch = pl.col("access").cast(pl.String).replace_strict(TOUCH_ACCESS, return_dtype=pl.UInt8, default=0)
    touches = (
        pl.concat([rows, ahead])
        .filter(pl.col("kind") == "touch")
        .select(seq, page=pl.col("addr") // PAGE_BYTES, from_touch=touch & ~pl.lit(int(Access.READ), pl.UInt8))
    )
    joined = faults.join_asof(
        seen, on="seq", by="addr", strategy="backward", tolerance=REACH_ROWS, check_sortedness=False
    ).join_asof(touches, on="seq", by="page", strategy="forward", tolerance=REACH_ROWS, check_sortedness=False)
    guessed = pl.when(pl.col("from_touch") == 0).then(int(Access.READ)).otherwise(pl.col("from_touch"))
    user = pl.when(pl.col("addr") < USER_END).then(int(Access.USER)).otherwise(0)
    access = pl.coalesce(pl.col("from_kvm"), guessed | user, int(Access.READ) | user).cast(pl.UInt8)
    joined = joined.select(pl.col("seq").cast(rows.schema["seq"]), fault_access=access)
    return rows.join(joined, on="seq", how="left", maintain_order="left")


def _name_emulated_stores(rows: pl.DataFrame, before: RowsBefore) -> pl.DataFrame:
    """Give a `kvm_other` store the instruction of KVM's last fault, if that was at the same place of a page."""
    in_page = PAGE_BYTES - 1
    fault, name = pl.col("kind") == "kvm_fault", pl.col("insn").cast(pl.String)
    place = pl.when(fault).then(pl.col("addr") & in_page).forward_fill()
    cause = pl.when(fault).then(name.fill_null("kvm_other")).forward_fill()
    rows = rows.with_columns(
        insn=name,
        place=pl.coalesce(place, pl.lit(before.place, pl.UInt64)),
        cause=pl.coalesce(cause, pl.lit(before.cause, pl.String)),
    )
    if rows.height:
        before.place, before.cause = rows["place"][-1], rows["cause"][-1]
    same_place = pl.col("place") == pl.col("addr") & in_page
    unnamed = (pl.col("kind") == "store") & (pl.col("insn") == "kvm_other") & same_place
    known = pl.col("cause").is_in(list(INSNS))
    named = pl.when((unnamed & known).fill_null(value=False)).then(pl.col("cause")).otherwise(pl.col("insn"))
    return rows.with_columns(insn=named).drop("place", "cause")


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


def _name_store_addresses(guest: pl.DataFrame, before: RowsBefore) -> pl.DataFrame:
    """Add `user_va`: the last write touch of the stored page was not through the direct map."""
    touches = guest.filter(pl.col("is_touch") & pl.col("writes")).select(
        pl.col("seq").cast(pl.Int64),
        gfn=pl.coalesce(pl.when(pl.col("announces")).then(pl.col("store_addr")), pl.col("new")) // PAGE_BYTES,
        elsewhere=pl.col("addr") // PAGE_BYTES,
    )
    touches = touches.filter(pl.col("gfn").is_not_null())
    direct = pl.lit(DIRECT_MAP_BASE // PAGE_BYTES, pl.UInt64)
    touches = touches.with_columns(elsewhere=pl.col("elsewhere") - direct != pl.col("gfn"))
    touches = pl.concat([before.writes, touches])
    before.writes = touches.unique("gfn", keep="last", maintain_order=True)
    stores = guest.filter(pl.col("is_store")).select(pl.col("seq").cast(pl.Int64), gfn=pl.col("addr") // PAGE_BYTES)
    stores = stores.join_asof(touches, on="seq", by="gfn", strategy="backward", check_sortedness=False)
    stores = stores.select(pl.col("seq").cast(guest.schema["seq"]), "elsewhere")
    guest = guest.join(stores, on="seq", how="left", maintain_order="left")
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
