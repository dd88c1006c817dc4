"""What parts of a path are: `functions.parquet` counts instructions per function of the host, per run and workload.

It tells what an exit alone does not: how much of a fault runs with mmu_lock held, and how much of an exit is the
emulator's work that a CPU with decode assists saves. Its totals are fitted to what happened in the same workload of the
same run, as the recording of exits has it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from sweep.prices.exits import batches
from sweep.prices.regression import solve_without_negatives
from sweep.prices.tallies import FEATURES

_NEEDED: Final = ("variant", "workload", "module", "function", "group", "instructions")
LOCKED: Final = (
    "mmu_set_spte", "make_spte", "__rmap_add", "pte_list_add", "kvm_mmu_page_set_translation", "mmu_spte_update",
    "shadow_walk_init_using_root",
)  # fmt: skip
"""Functions of a fixed fault that KVM calls with mmu_lock held (Linux 6.1, FNAME(fetch) and mmu_set_spte)."""
INVLPG_LOCKED: Final = ("paging64_invlpg",)
"""Takes mmu_lock at its start (Linux 6.1, FNAME(invlpg))."""
_DECODING: Final = ("emulator", "guest_walk", "host_copy_user")
"""Groups that an exit of a CPU with decode assists does without: fetch and decode of the instruction."""
_GUEST: Final = ("guest_kernel", "guest_user")
_EXIT_KINDS: Final = ("faults", "cr", "invlpg_exits")


class Functions:
    """Instructions per function beside what happened, per run and workload."""

    def __init__(self, path: Path, tallies: pl.DataFrame) -> None:
        pieces = [
            rows.group_by("variant", "workload", "module", "function", "group").agg(pl.col("instructions").sum())
            for rows in batches(path, _NEEDED)
        ]
        self._rows = pl.concat(pieces)
        exits = tallies.filter(pl.col("source") == "exits")
        kinds = {
            "faults": pl.col("exit") == "PF",
            "cr": pl.col("exit").is_in(["CR3_WRITE", "CR3_READ", "CR4_WRITE", "CR4_READ"]),
            "invlpg_exits": pl.col("exit") == "INVLPG",
        }
        counted = [(pl.col(name) * pl.col("n")).sum().alias(name) for name in FEATURES]
        self._events = exits.group_by(variant="recording", workload="workload").agg(
            *counted,
            (pl.col("insn") * pl.col("n")).sum(),
            pl.col("n").sum().alias("exits"),
            *(pl.col("n").filter(chosen).sum().alias(name) for name, chosen in kinds.items()),
        )

    def per(self, chosen: pl.Expr, features: Sequence[str]) -> dict[str, float]:
        """Return the instructions of some functions for each of the features, by least squares; empty if none ran.

        Errors are relative: a workload with few exits counts as much as one with many.
        """
        ran = self._rows.filter(chosen).group_by("variant", "workload").agg(pl.col("instructions").sum())
        rows = self._events.join(ran.filter(pl.col("instructions") > 0), on=["variant", "workload"])
        there = [feature for feature in features if rows.height and rows[feature].max()]
        if rows.height < len(there) or not there:
            return {}
        wanted = rows["instructions"].to_numpy().astype(np.float64)
        found = solve_without_negatives(rows.select(there).to_numpy().astype(np.float64), wanted, 1.0 / wanted**2)
        return dict(zip(there, found.tolist(), strict=True))

    def uncovered(self) -> float:
        """Return the instructions of an exit that its recording does not cover; 0 if unknown.

        A recorder of exits begins some way behind VMEXIT and ends before VMRUN: what the host executed in all, less
        what the recorded exits have, is left out in every exit alike.
        """
        host = self._rows.filter(~pl.col("module").is_in(_GUEST)).group_by("variant", "workload")
        both = self._events.join(host.agg(pl.col("instructions").sum()), on=["variant", "workload"])
        executed, recorded, exits = (float(both[name].sum()) for name in ("instructions", "insn", "exits"))
        return max(executed - recorded, 0.0) / exits if exits else 0.0

    def of_trapped_store(self) -> float:
        """Return the instructions of kvm_mmu_pte_write and of the write itself for a trapped store; 0 if unknown."""
        return self.per(pl.col("group") == "pte_write", ["pw"]).get("pw", 0.0)

    def locked_of_spte(self) -> float:
        """Return the instructions with mmu_lock held for an spte that a fault installs; 0 if unknown."""
        found = self.per(pl.col("function").is_in(LOCKED), ["spte", "pref", "sync_entries"])
        return found.get("spte", 0.0)

    def locked_of_invlpg(self) -> float:
        """Return the instructions with mmu_lock held of an INVLPG; 0 if unknown."""
        return self.per(pl.col("function").is_in(INVLPG_LOCKED), ["invlpg_exits"]).get("invlpg_exits", 0.0)

    def decoding(self) -> dict[str, float]:
        """Return the instructions of decoding for an exit by CR access (`cr`) and by INVLPG (`invlpg_exits`)."""
        found = self.per(pl.col("group").is_in(_DECODING), [*_EXIT_KINDS, "pw", "sync_entries"])
        return {name: found.get(name, 0.0) for name in ("cr", "invlpg_exits")}
