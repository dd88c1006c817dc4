"""Totals: instructions that KVM took for a whole workload under a policy, fitted to what the engine counts for it.

No event of KVM is looked at, only how many instructions there were with KVM and without: a second opinion on the
prices, and the only one where a path never happens alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from sweep.prices.regression import solve_without_negatives
from sweep.validate.recording_set import RecordingSet
from sweep.validate.times import kvm_instructions

REGRESSORS: Final = (
    "exits", "pf_fixed", "pf_emulate", "pf_spurious", "pf_guest", "insn_emulation", "rep_iterations", "mmu_pte_write",
    "sptes_prefetched", "mmu_cache_miss", "mmu_shadow_zapped", "sptes_zapped", "unsync_events", "sync_events",
    "sync_transient", "sync_sptes", "cr3_loads", "invlpg", "tlb_flush",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Instructions per counter, fitted to totals of workloads, and how well they fit."""

    folder: str
    n: int
    coefficients: dict[str, float]
    median_error: float
    p95_error: float


def fit_totals(folder: Path, *, say: Callable[[str], None]) -> Totals | None:
    """Return the fit over all policies and workloads of a folder; None where KVM's totals or the guest's are missing.

    Errors are relative: a short workload counts as much as a long one.
    """
    recordings = RecordingSet(folder)
    needed = (folder / "counters.csv", folder / "variants.csv")
    if not recordings.direct or not all(path.is_file() for path in needed):
        return None
    say(f"{folder}: simulating every policy, for the totals")
    table = kvm_instructions(recordings)
    if table.is_empty():
        say(f"{folder}: counters.csv has no totals of the recorded guest and its workloads; left out")
        return None
    wanted = table["kvm"].to_numpy().astype(np.float64) - table["other"].to_numpy()
    there = [name for name in REGRESSORS if table[name].max()]
    if table.height <= len(there):
        return None
    found = solve_without_negatives(table.select(there).to_numpy().astype(np.float64), wanted, 1.0 / wanted**2)
    errors = np.abs(table.select(there).to_numpy() @ found / wanted - 1.0)
    return Totals(
        folder=folder.name,
        n=table.height,
        coefficients=dict(zip(there, found.tolist(), strict=True)),
        median_error=float(np.median(errors)),
        p95_error=float(np.quantile(errors, 0.95)),
    )


def totals_frame(totals: Totals) -> pl.DataFrame:
    """Return the coefficients above 0 as a table."""
    rows = [(name, value) for name, value in totals.coefficients.items() if value > 0]
    return pl.DataFrame(rows, schema={"counter": pl.String, "instructions": pl.Float64}, orient="row")
