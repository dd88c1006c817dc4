"""Count in lanes: counter numbers for the kernel, and adding to their bit-sliced totals, one of each per activity."""

from typing import Final

import numpy as np
import numpy.typing as npt

from engine.jit import array_kernel as kernel
from engine.lanes.bits import ONE, Words, add_amount, add_planes, lowest
from engine.lanes.state import COUNTER_PLANES, S_ACTIVITY, Lanes
from engine.vocabulary import COUNTER_INDEX, COUNTER_NAMES

Counts = npt.NDArray[np.int64]

C_EXITS: Final = COUNTER_INDEX["exits"]
C_PF_TAKEN: Final = COUNTER_INDEX["pf_taken"]
C_PF_FIXED: Final = COUNTER_INDEX["pf_fixed"]
C_PF_EMULATE: Final = COUNTER_INDEX["pf_emulate"]
C_PF_SPURIOUS: Final = COUNTER_INDEX["pf_spurious"]
C_PF_GUEST: Final = COUNTER_INDEX["pf_guest"]
C_MMU_PTE_WRITE: Final = COUNTER_INDEX["mmu_pte_write"]
C_MMU_PTE_UPDATED: Final = COUNTER_INDEX["mmu_pte_updated"]
C_MMU_PDE_ZAPPED: Final = COUNTER_INDEX["mmu_pde_zapped"]
C_MMU_FLOODED: Final = COUNTER_INDEX["mmu_flooded"]
C_MMU_RECYCLED: Final = COUNTER_INDEX["mmu_recycled"]
C_MMU_CACHE_MISS: Final = COUNTER_INDEX["mmu_cache_miss"]
C_MMU_SHADOW_ZAPPED: Final = COUNTER_INDEX["mmu_shadow_zapped"]
C_MMU_UNSYNC: Final = COUNTER_INDEX["mmu_unsync"]
C_INVLPG: Final = COUNTER_INDEX["invlpg"]
C_TLB_FLUSH: Final = COUNTER_INDEX["tlb_flush"]
C_REMOTE_TLB_FLUSH: Final = COUNTER_INDEX["remote_tlb_flush"]
C_INSN_EMULATION: Final = COUNTER_INDEX["insn_emulation"]
C_CR3_LOADS: Final = COUNTER_INDEX["cr3_loads"]
C_UNSYNC_EVENTS: Final = COUNTER_INDEX["unsync_events"]
C_SYNC_EVENTS: Final = COUNTER_INDEX["sync_events"]
C_SYNC_TRANSIENT: Final = COUNTER_INDEX["sync_transient"]
C_SYNC_SPTES: Final = COUNTER_INDEX["sync_sptes"]
C_FLOOD_ZAPS: Final = COUNTER_INDEX["flood_zaps"]
C_MISALIGNED_ZAPS: Final = COUNTER_INDEX["misaligned_zaps"]
C_RETRY_ZAPS: Final = COUNTER_INDEX["retry_zaps"]
C_REP_ITERATIONS: Final = COUNTER_INDEX["rep_iterations"]
C_PAGE_WALKS: Final = COUNTER_INDEX["page_walks"]
C_LOCK_ACQUISITIONS: Final = COUNTER_INDEX["lock_acquisitions"]
C_HASH_STEPS: Final = COUNTER_INDEX["hash_steps"]
C_SPTES_INSTALLED: Final = COUNTER_INDEX["sptes_installed"]
C_SPTES_PREFETCHED: Final = COUNTER_INDEX["sptes_prefetched"]
C_PREFETCH_USED: Final = COUNTER_INDEX["prefetch_used"]
C_PREFETCH_UNUSED: Final = COUNTER_INDEX["prefetch_unused"]
C_SPTES_ZAPPED: Final = COUNTER_INDEX["sptes_zapped"]
C_WRITE_UPGRADES: Final = COUNTER_INDEX["write_upgrades"]
C_DEAD_TABLE_WRITES: Final = COUNTER_INDEX["dead_table_writes"]
C_PREFETCH_SKIPPED: Final = COUNTER_INDEX["prefetch_skipped"]
C_FATAL: Final = COUNTER_INDEX["fatal"]
C_FLUSH_IPIS: Final = COUNTER_INDEX["flush_ipis"]
C_PAGES_PEAK: Final = COUNTER_INDEX["pages_peak"]
C_GUEST_RUN_NS: Final = COUNTER_INDEX["guest_run_ns"]
C_GUEST_STORES: Final = COUNTER_INDEX["guest_stores"]
C_GUEST_TOUCHES: Final = COUNTER_INDEX["guest_touches"]
C_RESYNC: Final = len(COUNTER_NAMES)
"""Hidden: what mmu_unsync, a gauge, lost; planes can't hold a number that falls."""


@kernel
def count(st: Lanes, counter: int, mask: np.uint64) -> None:
    """Add 1 to a counter in the lanes of `mask`."""
    activity = st.scalars[S_ACTIVITY]
    k = 0
    while mask:
        carry = st.counts[activity, counter, k] & mask
        st.counts[activity, counter, k] ^= mask
        mask = carry
        k += 1


@kernel
def count_amount(st: Lanes, counter: int, mask: np.uint64, amount: int) -> None:
    """Add the same amount to a counter in the lanes of `mask`."""
    if mask:
        add_amount(st.counts[st.scalars[S_ACTIVITY], counter], mask, amount)


@kernel
def count_planes(st: Lanes, counter: int, planes: Words, mask: np.uint64) -> None:
    """Add a bit-sliced number to a counter in the lanes of `mask`."""
    if mask:
        add_planes(st.counts[st.scalars[S_ACTIVITY], counter], planes, mask)


@kernel
def unslice(st: Lanes, into: Counts) -> None:
    """Add all totals to `into[activity, lane, counter]`; C_RESYNC is its last counter."""
    for activity in range(st.counts.shape[0]):
        for counter in range(st.counts.shape[1]):
            for k in range(COUNTER_PLANES):
                lanes = st.counts[activity, counter, k]
                while lanes:
                    into[activity, lowest(lanes), counter] += np.int64(1) << k
                    lanes &= lanes - ONE
