"""The state of up to 64 hypervisors that see one trace: one word per slot, one bit per lane.

All policies see the same guest tables, so at any event they look at the same (gfn, role) and the same entry. A slot is
one (gfn, role) that at least one lane shadows. Arrays by their index:

* `sptes[slot, index, plane]`: lanes in which the entry is present, writable, …; one cache line for all planes, and the
  gfn that a leaf maps, or slot that a link leads to, in all lanes but the odd ones
* `chains[slot, index, which]`: neighbours in the reverse map (or, for a link, in the list of its child's parents)
* `pages[slot, field]` and `masks[slot, field]`: the header of a slot, as numbers and as lane masks
* `fifo[way, slot, lane]`: older and newer neighbour in the lane's pool
* `frames[gfn, field]`, `lengths[gfn, plane]`: of a guest frame its table contents, its slots, its reverse map
"""

from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from engine.vocabulary import ACTIVITY_NAMES, COUNTER_NAMES

Words = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]

NONE: Final = -1

# Planes of `sptes`.
PRESENT: Final = 0
WRITABLE: Final = 1
ACCESSED: Final = 2
DIRTY: Final = 3
SPECULATIVE: Final = 4
LARGE: Final = 4
"""Level 2 and up, where nothing is speculative: lanes in which the entry is a large leaf and no link."""
ODD: Final = 5
"""Lanes whose target is in the odd table and not in `targets`."""
BELOW: Final = 6
"""Level 2 and up: lanes in which an out-of-sync leaf may lie below the link."""
TARGETS: Final = 7
"""Not lanes but two numbers: target of 4 KiB leaves and links in the low half, of large leaves in the high half."""
SPTE_PLANES: Final = 8

# Which half of TARGETS.
SMALL: Final = 0  # 4 KiB leaves and links.
BIG: Final = 1  # Large leaves.

# Which of `chains`.
NEXT: Final = 0
PREVIOUS: Final = 1
LARGE_NEXT: Final = 2
LARGE_PREVIOUS: Final = 3

# Fields of `pages`.
GFN: Final = 0
KEY: Final = 1
"""Level << 4 | direct << 3 | access: sorts as the role does."""
SIBLING: Final = 2
FIRST_PARENT: Final = 3
OCCUPIED: Final = 4
"""Bit g: an entry of group g (8 entries) may be present in some lane."""
BELOW_GROUPS: Final = 5
STAMP: Final = 6
PAGE_FIELDS: Final = 7

# Fields of `masks`.
SHADOWED: Final = 0
UNSYNC: Final = 1
BELOW_ANY: Final = 2
FLOODING: Final = 3
"""Lanes whose write count is not 0."""
FLOOD: Final = 4
FLOOD_PLANES: Final = 8
ENTRIES: Final = FLOOD + FLOOD_PLANES
"""Number of present entries, bit-sliced."""
ENTRY_PLANES: Final = 10
MASK_FIELDS: Final = ENTRIES + ENTRY_PLANES

# Fields of `frames`.
TABLE: Final = 0
FIRST_SLOT: Final = 1
FIRST_SPTE: Final = 2
FRAME_FIELDS: Final = 3
LENGTH_PLANES: Final = 12

# Fields of `regions` (after the planes that count shadowed gfns).
REGION_PLANES: Final = 12

BUCKET_PLANES: Final = 16  # `bucket_heights` says how many of them a bucket ever used.
ACTIVITIES: Final = len(ACTIVITY_NAMES)
COUNTER_PLANES: Final = 56  # The last one stays empty: it tells of a counter that is about to run over.

# Knob masks: lanes that have the knob switched on.
K_ALL: Final = 0
K_SHADOW: Final = 1
K_ORACLE: Final = 2
K_UNSYNC: Final = 3
K_SCOPE_PAGE: Final = 4
K_SCOPE_VCPU: Final = 5
K_SCOPE_SPTE: Final = 6
K_FLOOD_ON: Final = 7
K_LEVEL1: Final = 8
K_CLEAR_ON_WALK: Final = 9
K_RESET_ON_FAULT: Final = 10
K_ACCESSED_EXCEPTION: Final = 11
K_MISALIGNED_2011: Final = 12
K_MISALIGNED_LOW_BYTE: Final = 13
K_MISALIGNED_UNDER_8: Final = 14
K_RETRY: Final = 15
K_REP_ZAP: Final = 16
K_UPDATE: Final = 17
K_PREFETCH: Final = 18
K_PREFETCH_STOPS: Final = 19
K_PREFETCH_UNSYNC: Final = 20
K_SYNC_ZAPS_EMPTY: Final = 21
K_CREATE_ZAPS_UNSYNC: Final = 22
K_SHORTCUT: Final = 23
K_RECYCLE_SKIPS_ROOTS: Final = 24
K_RECYCLE_IN_WRITE: Final = 25
K_LARGE_DROP: Final = 26
K_HOST_LARGE: Final = 27
K_INVLPG_3_0: Final = 28
K_INVLPG_6_1: Final = 29
K_TOPUP_IN_WRITE: Final = 30
K_HASH_64: Final = 31
K_THRESHOLD: Final = 32
"""Flood threshold, bit-sliced."""
KNOB_WORDS: Final = K_THRESHOLD + FLOOD_PLANES

# Per lane.
L_USED: Final = 0
L_POOL: Final = 1
L_INDIRECT: Final = 2
L_OLDEST: Final = 3
L_NEWEST: Final = 4
L_REP_LIMIT: Final = 5
L_DESC_MINIMUM: Final = 6
L_CACHED_ROOTS: Final = 7
L_PEAK: Final = 8
L_FREED: Final = 9
L_DONE: Final = 10
LANE_FIELDS: Final = 11

# Per-lane numbers of a vCPU: `vcpu[vcpu, field, lane]`.
V_WRITE_GFN: Final = 0
V_WRITE_COUNT: Final = 1
V_UPDATED_SPTE: Final = 2
"""Slot * 512 + index of the last speculative spte, in lanes in which it is not the shared one."""
V_UPDATED_GFN: Final = 3
V_DESC: Final = 4
V_RETRY_PLACE: Final = 5
V_RETRY_INSN: Final = 6
V_ROOTS: Final = 7
"""Slots of the cached roots, last used first; NONE is a hole, -2 - slot a root that was zapped."""
CACHED_ROOTS: Final = 3
VCPU_FIELDS: Final = V_ROOTS + CACHED_ROOTS

# Of a vCPU, numbers and masks.
R_CR3: Final = 0
R_SLOT: Final = 1
R_STORE_GFN: Final = 2
R_STORE_VA: Final = 3
R_UPDATED_SPTE: Final = 4
R_UPDATED_GFN: Final = 5
"""The last speculative spte, where lanes share it."""
ROOT_FIELDS: Final = 6
RM_VALID: Final = 0
RM_ZAPPED: Final = 1
RM_FLUSH: Final = 2
RM_FLUSH_CURRENT: Final = 3
RM_LOW_DESC: Final = 4
"""Lanes whose pte_list_desc cache is below its minimum."""
RM_RETRIED: Final = 5
"""Lanes that remember the place of a retried instruction."""
RM_UPDATED: Final = 6
"""Lanes whose last speculative spte is the shared one."""
RM_UPDATED_OWN: Final = 7
"""Lanes that have one of their own."""
RM_COUNT_RESET: Final = 8
"""Lanes whose count of stores in a row is to be taken as 0."""
ROOT_MASKS: Final = 9

S_FREE_SLOTS: Final = 0  # Slots that no lane uses: the first so many of `free`.
S_TABLES: Final = 1
S_ODD: Final = 2
S_STAMP: Final = 3
S_DEFERRED: Final = 4
S_WORK: Final = 5
S_PAGES: Final = 6
"""Frames of the guest's memory."""
S_VCPUS: Final = 7
S_ACTIVITY: Final = 8  # To what the present event belongs.
SCALARS: Final = 9
SM_LOW: Final = 0
"""Lanes whose pool has fewer than KVM_MIN_FREE_MMU_PAGES pages left."""
SM_OBSOLETE: Final = 1
SM_INDIRECT: Final = 2
"""Lanes that have any indirect shadow page."""
SM_FLUSH: Final = 3
"""Lanes in which some vCPU has a flush pending."""
SCALAR_MASKS: Final = 4

WORK_SLOTS: Final = 1 << 17

# Fields of `walk`, the last walk of the guest's tables.
W_GFN: Final = 0
W_LEVEL: Final = 1
W_ACCESS: Final = 2
W_TABLE: Final = 3
"""`W_TABLE + level`: frame of the guest table at that level."""
W_TABLE_ACCESS: Final = 8
"""`W_TABLE_ACCESS + level`: access that the entries above that table grant."""
WALK_FIELDS: Final = 13


# Capacities. Memory that is never touched costs nothing, so they are generous and fixed: the compiled kernel knows
# every place at compile time and needs one pointer for all of the state.
SLOTS: Final = 1 << 15
TABLES: Final = 1 << 15
FRAMES: Final = 1 << 21
"""8 GiB of guest memory. A numpy record holds less than 2 GiB, which bounds the three."""
VCPUS: Final = 64
ODD_ENTRIES: Final = 1 << 17
HASH_BUCKETS: Final = 4096

STATE: Final = np.dtype(
    [
        ("sptes", np.uint64, (SLOTS, 512, SPTE_PLANES)),
        ("chains", np.int32, (SLOTS, 512, 4)),
        ("pages", np.int64, (SLOTS, PAGE_FIELDS)),
        ("masks", np.uint64, (SLOTS, MASK_FIELDS)),
        ("fifo", np.int32, (2, SLOTS, 64)),
        ("frames", np.int32, (FRAMES, FRAME_FIELDS)),
        ("lengths", np.uint64, (FRAMES, LENGTH_PLANES)),
        ("tables", np.uint64, (TABLES, 512)),
        ("regions", np.uint64, (FRAMES >> 9, REGION_PLANES)),
        ("region_head", np.int32, (FRAMES >> 9,)),
        ("buckets", np.uint64, (2, HASH_BUCKETS, BUCKET_PLANES)),
        ("bucket_heights", np.int64, (2, HASH_BUCKETS)),
        ("knobs", np.uint64, (KNOB_WORDS,)),
        ("lane", np.int64, (LANE_FIELDS, 64)),
        ("vcpu", np.int64, (VCPUS, VCPU_FIELDS, 64)),
        ("roots", np.int64, (VCPUS, ROOT_FIELDS)),
        ("root_masks", np.uint64, (VCPUS, ROOT_MASKS)),
        ("counts", np.uint64, (ACTIVITIES, len(COUNTER_NAMES) + 1, COUNTER_PLANES)),
        ("odd", np.int64, (ODD_ENTRIES, 2)),
        ("odd_places", np.int32, (2 * ODD_ENTRIES,)),
        ("desc_entries", np.int64, (64,)),
        ("desc_lanes", np.uint64, (64,)),
        ("scalars", np.int64, (SCALARS,)),
        ("scalar_masks", np.uint64, (SCALAR_MASKS,)),
        ("free", np.int32, (SLOTS,)),
        ("work", np.int64, (WORK_SLOTS,)),
        ("work_masks", np.uint64, (WORK_SLOTS,)),
        ("climb", np.int64, (WORK_SLOTS,)),
        ("climb_masks", np.uint64, (WORK_SLOTS,)),
        ("walk", np.int64, (WALK_FIELDS,)),
    ],
)
"""The whole state as one record."""


class Lanes(Protocol):
    """The record of dtype STATE as kernels see it: one attribute an array."""

    sptes: Words
    chains: npt.NDArray[np.int32]
    pages: Ints
    masks: Words
    fifo: npt.NDArray[np.int32]
    frames: npt.NDArray[np.int32]
    lengths: Words
    tables: Words
    regions: Words
    region_head: npt.NDArray[np.int32]
    buckets: Words
    """`buckets[hash, bucket, plane]`: valid shadow pages in a chain, bit-sliced."""
    bucket_heights: Ints
    knobs: Words
    lane: Ints
    vcpu: Ints
    roots: Ints
    root_masks: Words
    counts: Words
    """`counts[activity, counter, plane]`, bit-sliced."""
    odd: Ints
    """`odd[i]` = (spte << 6 | lane, target), the first `scalars[S_ODD]` of them."""
    odd_places: npt.NDArray[np.int32]
    """Hash table of the odd entries: 1 + their index, or 0."""
    desc_entries: Ints
    """The different values of the knob `desc_entries`; `desc_lanes` are the lanes of each."""
    desc_lanes: Words
    scalars: Ints
    scalar_masks: Words
    free: npt.NDArray[np.int32]
    work: Ints
    """A stack of lists of slots."""
    work_masks: Words
    climb: Ints
    """Scratch for one walk over links, up or down."""
    climb_masks: Words
    walk: Ints
