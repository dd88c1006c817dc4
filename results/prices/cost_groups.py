"""How parts of the time are called, in charts and in explanations, and which counters' prices each of them sums up."""

from types import MappingProxyType
from typing import Final

NATIVE: Final = "native"
WAITING: Final = "waiting for mmu_lock"
OTHER: Final = "other costs"
PARTS: Final = MappingProxyType(
    {
        "exits and faults": ("exits", "pf_fixed", "pf_emulate", "pf_spurious", "pf_guest"),
        "walks of guest tables": ("page_walks", "guest_touches", "guest_run_ns"),
        "emulation": ("insn_emulation", "rep_iterations"),
        "trapped stores": ("mmu_pte_write", "hash_steps", "sptes_prefetched", "lock_acquisitions"),
        "shadow pages made and zapped": ("mmu_cache_miss", "mmu_shadow_zapped", "sptes_zapped"),
        "unsync and sync": ("unsync_events", "sync_events", "sync_transient", "sync_sptes"),
        "CR3, INVLPG, flushes": ("cr3_loads", "invlpg", "tlb_flush", "remote_tlb_flush", "flush_ipis"),
    }
)
"""Group of costs -> the counters whose prices it sums up; counters that a cost model adds come under other costs."""


def part_of(counter: str) -> str:
    """Return the part to which the price of a counter belongs."""
    return next((part for part, counters in PARTS.items() if counter in counters), OTHER)
