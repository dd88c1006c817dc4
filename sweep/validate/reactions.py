"""Brings KVM's recorded rows and the engine's log into one table of reactions, so that they can be compared.

A reaction has the event that it answers, a kind, a gfn, a level and a role. What the two sides cannot both know is left
out: of a role only level, direct and access bits are kept, and a fault's gfn is the page of its address.
"""

from collections.abc import Sequence
from typing import Any, Final

import polars as pl

from engine.events import DIRECT_MAP_BASE
from engine.vocabulary import Event
from sweep.recordings.kvm.reading import KvmTruth

KINDS: Final = (
    "fault_fixed", "fault_emulated", "fault_guest", "unsync", "sync", "get_page_new", "get_page_existing", "emulation",
    "pte_write", "flood", "misaligned", "retry", "recycle", "child", "other",
)  # fmt: skip
"""What is compared; the last six are reasons of zaps."""
SCHEMA: Final = {"event": pl.Int64, "kind": pl.String, "gfn": pl.UInt64, "level": pl.UInt8, "role": pl.UInt64}

_ROLE_MASK: Final = 0x78F
"""kvm_mmu_page_role of Linux 6.1: level (bits 0-3), direct (7), access (8-10)."""
_SAME_TO_US: Final = {"fault_spurious": "fault_fixed", "fault_retried": "fault_fixed"}
"""The recorder does not tell these outcomes apart; the counters do."""
_FRAME_MASK: Final = (1 << 52) - 1
_DIRECT_FRAME: Final = DIRECT_MAP_BASE >> 12
_DIRECT_FRAMES: Final = 1 << 34
"""64 TiB: the size of the direct map of a 4-level guest (Linux Documentation/arch/x86/x86_64/mm.rst)."""


def kvm_reactions(truth: KvmTruth) -> pl.DataFrame:
    """Return what KVM did."""
    entered = truth.events["kind"] == int(Event.GUEST_FAULT)
    guest_faults = pl.DataFrame({"seq": truth.row[entered], "addr": truth.events["address"][entered]})
    rows = truth.kvm.with_columns(pl.col("kind").cast(pl.String), pl.col("reason").cast(pl.String))
    rows = rows.filter(~_sync_of_zap())
    faults = _faults(rows, guest_faults)
    created = pl.when(pl.col("created")).then(pl.lit("get_page_new")).otherwise(pl.lit("get_page_existing"))
    named = {"kvm_unsync": "unsync", "kvm_sync": "sync", "kvm_pte_write": "pte_write", "kvm_emulate": "emulation"}
    others = rows.filter(pl.col("kind").is_in([*named, "kvm_get_page", "kvm_zap"])).with_columns(
        kind=pl.when(pl.col("kind") == "kvm_get_page")
        .then(created)
        .when(pl.col("kind") == "kvm_zap")
        .then(pl.col("reason"))
        .otherwise(pl.col("kind").replace(named))
    )
    others = others.select("seq", "event", "kind", "addr", "level", "role")
    return _normalised(pl.concat([faults, others]), seq=True)


def _sync_of_zap() -> pl.Expr:
    """Find the reports that a page ceased to be out of sync because it was zapped: part of the zap."""
    zapped = (pl.col("kind").shift(1) == "kvm_zap") & (pl.col("old").shift(1) == 1)
    return ((pl.col("kind") == "kvm_sync") & zapped & (pl.col("addr") == pl.col("addr").shift(1))).fill_null(
        value=False
    )


def _faults(rows: pl.DataFrame, guest_faults: pl.DataFrame) -> pl.DataFrame:
    faults = rows.filter(pl.col("kind") == "kvm_fault")
    number = (pl.col("kind") == "kvm_fault").cum_sum()
    emulated = rows.with_columns(fault=number).filter(pl.col("kind") == "kvm_emulate")["fault"].unique()
    passed_on = guest_faults.select("seq", "addr").join_asof(
        faults.select(pl.col("seq").cast(pl.Int64), "addr", fault_seq=pl.col("seq")),
        on="seq", by="addr", strategy="backward", check_sortedness=False,
    )  # fmt: skip
    ordinal = pl.int_range(1, pl.len() + 1, dtype=pl.UInt32)
    kind = (
        pl.when(pl.col("seq").is_in(passed_on["fault_seq"].drop_nulls().implode()))
        .then(pl.lit("fault_guest"))
        .when(ordinal.is_in(emulated.implode()))
        .then(pl.lit("fault_emulated"))
        .otherwise(pl.lit("fault_fixed"))
    )
    zero = pl.lit(0, pl.UInt8), pl.lit(0, pl.UInt64)
    return faults.with_columns(kind=kind).select("seq", "event", "kind", "addr", level=zero[0], role=zero[1])


def engine_reactions(log: Sequence[tuple[int, str, int, int, int]]) -> pl.DataFrame:
    """Return what the engine did, from its log of (event, kind, gfn, level, role word)."""
    columns: list[Sequence[Any]] = list(zip(*log, strict=True)) if log else [[] for _ in range(5)]
    event, kind, gfn, level, role = columns
    table = pl.DataFrame(
        {"event": event, "kind": kind, "addr": gfn, "level": level, "role": role},
        schema={"event": pl.Int64, "kind": pl.String, "addr": pl.UInt64, "level": pl.UInt8, "role": pl.UInt64},
    )
    after_zap = pl.col("kind").shift(1).str.starts_with("zap_") & (pl.col("addr") == pl.col("addr").shift(1))
    table = table.filter(~((pl.col("kind") == "sync") & after_zap).fill_null(value=False))
    bare = pl.col("kind").str.strip_prefix("zap_").replace(_SAME_TO_US)
    table = table.with_columns(kind=bare, addr=(pl.col("addr") & _FRAME_MASK) * 4096)
    table = table.filter(pl.col("kind").is_in(KINDS))
    return _normalised(table, seq=False)


def _normalised(table: pl.DataFrame, *, seq: bool) -> pl.DataFrame:
    frame = pl.col("addr") // 4096
    direct = frame - pl.lit(_DIRECT_FRAME, pl.UInt64)
    in_direct = (frame >= _DIRECT_FRAME) & (direct < _DIRECT_FRAMES)
    placed = pl.col("kind").is_in(["fault_fixed", "fault_emulated", "fault_guest", "emulation", "pte_write"])
    table = table.with_columns(
        gfn=pl.when(in_direct).then(direct).otherwise(frame),
        level=pl.when(placed).then(0).otherwise(pl.col("level").fill_null(0)).cast(pl.UInt8),
        role=pl.when(placed).then(0).otherwise(pl.col("role").fill_null(0) & _ROLE_MASK),
    )
    # An engine may log 4 KiB frames of addresses whose upper 12 bits it dropped.
    order = ["event", "seq"] if seq else ["event"]
    return table.sort(order, maintain_order=True).select(pl.col(name).cast(dtype) for name, dtype in SCHEMA.items())
