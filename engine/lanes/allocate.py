"""Make the state of the kernel for a set of policies and a guest."""

from collections.abc import Sequence
from typing import Final, cast

import numpy as np
import numpy.typing as npt

from engine.guests import Guest
from engine.knobs import Knobs, Policy
from engine.lanes import state as s
from engine.lanes.pages import MIN_FREE_PAGES
from engine.lanes.state import Lanes
from engine.vocabulary import LANES_MAX

_ON: Final = {
    s.K_SHADOW: lambda k: k.shadow,
    s.K_ORACLE: lambda k: k.oracle,
    s.K_UNSYNC: lambda k: k.unsync,
    s.K_SCOPE_PAGE: lambda k: k.flood_scope == "page",
    s.K_SCOPE_VCPU: lambda k: k.flood_scope == "vcpu",
    s.K_SCOPE_SPTE: lambda k: k.flood_scope == "spte",
    s.K_FLOOD_ON: lambda k: k.flood_threshold > 0,
    s.K_LEVEL1: lambda k: k.flood_level1,
    s.K_CLEAR_ON_WALK: lambda k: k.flood_clear_on_walk,
    s.K_RESET_ON_FAULT: lambda k: k.flood_reset_on_fault,
    s.K_ACCESSED_EXCEPTION: lambda k: k.flood_accessed_exception,
    s.K_MISALIGNED_2011: lambda k: k.misaligned == "before_2011",
    s.K_MISALIGNED_LOW_BYTE: lambda k: k.misaligned == "low_byte_allowed",
    s.K_MISALIGNED_UNDER_8: lambda k: k.misaligned == "under_8_bytes",
    s.K_RETRY: lambda k: k.retry_untagged,
    s.K_REP_ZAP: lambda k: k.rep_string_zap,
    s.K_UPDATE: lambda k: k.update_written_spte,
    s.K_PREFETCH: lambda k: k.prefetch,
    s.K_PREFETCH_STOPS: lambda k: k.prefetch_stops_at_gap,
    s.K_PREFETCH_UNSYNC: lambda k: k.prefetch_may_unsync,
    s.K_SYNC_ZAPS_EMPTY: lambda k: k.sync_zaps_empty,
    s.K_CREATE_ZAPS_UNSYNC: lambda k: k.upper_create_zaps_unsync,
    s.K_SHORTCUT: lambda k: k.write_tracked_shortcut,
    s.K_RECYCLE_SKIPS_ROOTS: lambda k: k.recycle_skips_roots,
    s.K_RECYCLE_IN_WRITE: lambda k: k.recycle_in_pte_write,
    s.K_LARGE_DROP: lambda k: k.large_drop_on_protect,
    s.K_HOST_LARGE: lambda k: k.host_large_pages,
    s.K_INVLPG_3_0: lambda k: k.invlpg == "kvm_3_0",
    s.K_INVLPG_6_1: lambda k: k.invlpg == "kvm_6_1",
    s.K_TOPUP_IN_WRITE: lambda k: k.desc_topup_in_pte_write,
    s.K_HASH_64: lambda k: k.hash == "hash_64_12_bits",
}
"""Knob mask -> whether a lane with these knobs is in it."""


def knob_words(knobs: Sequence[Knobs]) -> npt.NDArray[np.uint64]:
    """Return the knob masks of lanes in this order."""
    words = [0] * s.KNOB_WORDS
    words[s.K_ALL] = (1 << len(knobs)) - 1
    for lane, knob in enumerate(knobs):
        for word, is_on in _ON.items():
            words[word] |= is_on(knob) << lane
        for plane in range(s.FLOOD_PLANES):
            words[s.K_THRESHOLD + plane] |= (knob.flood_threshold >> plane & 1) << lane
    return np.array(words, dtype=np.uint64)


def lane_numbers(knobs: Sequence[Knobs], guest: Guest) -> npt.NDArray[np.int64]:
    """Return the per-lane numbers at the start."""
    lane = np.zeros((s.LANE_FIELDS, LANES_MAX), dtype=np.int64)
    lane[s.L_OLDEST] = lane[s.L_NEWEST] = s.NONE
    lane[s.L_POOL] = 1 << 40
    for i, knob in enumerate(knobs):
        lane[s.L_POOL, i] = knob.pool_pages or guest.pool_pages
        lane[s.L_REP_LIMIT, i] = knob.rep_limit
        lane[s.L_DESC_MINIMUM, i] = knob.desc_minimum
        lane[s.L_CACHED_ROOTS, i] = knob.cached_roots
    return lane


def low_pools(lane: npt.NDArray[np.int64], lanes: int) -> int:
    """Return the mask of lanes whose empty pool is below the minimum already."""
    return sum(1 << i for i in range(lanes) if lane[s.L_POOL, i] < MIN_FREE_PAGES)


def allocate(policies: Sequence[Policy], guest: Guest) -> Lanes:
    """Return the state of lanes before the first event.

    Raises:
        ValueError: the guest has more memory or vCPUs than the kernel has room for.
    """
    if guest.pages > s.FRAMES or guest.vcpus > s.VCPUS:
        found = f"{guest.memory_mib} MiB and {guest.vcpus} vCPUs"
        raise ValueError(f"a guest has at most {s.FRAMES // 256} MiB and {s.VCPUS} vCPUs, found {found}")
    record = np.zeros(1, dtype=s.STATE)[0]
    knobs = [policy.knobs for policy in policies]
    record["frames"][: guest.pages] = s.NONE
    record["region_head"][: (guest.pages + 511) // 512] = s.NONE
    for field in (s.V_WRITE_GFN, s.V_RETRY_PLACE, s.V_RETRY_INSN):
        record["vcpu"][:, field] = s.NONE
    record["vcpu"][:, s.V_ROOTS :] = s.NONE
    record["roots"][:] = s.NONE
    record["root_masks"][:, s.RM_LOW_DESC] = (1 << len(knobs)) - 1
    record["knobs"][:] = knob_words(knobs)
    record["lane"][:] = lane_numbers(knobs, guest)
    for group, entries in enumerate(sorted({knob.desc_entries for knob in knobs})):
        record["desc_entries"][group] = entries
        record["desc_lanes"][group] = sum(1 << i for i, knob in enumerate(knobs) if knob.desc_entries == entries)
    record["scalars"][s.S_FREE_SLOTS] = s.SLOTS
    record["scalars"][s.S_PAGES] = guest.pages
    record["scalars"][s.S_VCPUS] = guest.vcpus
    record["scalar_masks"][s.SM_LOW] = low_pools(record["lane"], len(knobs))
    record["free"][:] = np.arange(s.SLOTS - 1, -1, -1, dtype=np.int32)
    return cast(Lanes, record)
