"""The reference's bookkeeping: create, drop and zap shadow pages; the pool; the reverse map; write protection."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from typing import Final

from engine.guests import Guest
from engine.knobs import Policy
from engine.mechanisms import MECHANISMS
from engine.reference.hooks import Hooks
from engine.reference.state import GuestMemory, Role, ShadowPage, Spte, Vcpu, region_of
from engine.vocabulary import COUNTER_NAMES, Activity

MIN_FREE_PAGES: Final = 5
"""KVM_MIN_FREE_MMU_PAGES: the pool is reclaimed when fewer are left (Linux 3.0, 6.1 kvm_host.h)."""
REFILL_PAGES: Final = 25
"""KVM_REFILL_PAGES: reclaim ends when so many are free (Linux 3.0, 6.1 kvm_host.h)."""
RMAP_RECYCLE_THRESHOLD: Final = 1000
"""A longer reverse map is dropped whole (Linux 3.0, 6.1 mmu.c)."""
DESC_CAPACITY: Final = 40
"""KVM_NR_MEM_OBJS: pte_list_desc objects after a top-up (Linux 3.0, 6.1 kvm_host.h)."""


@dataclass(slots=True)
class Mmu:
    """One simulated hypervisor."""

    policy: Policy
    guest: Guest
    pool_pages: int
    vcpus: list[Vcpu]
    memory: GuestMemory = field(default_factory=GuestMemory)
    pages: dict[int, dict[Role, ShadowPage]] = field(default_factory=dict)
    """gfn -> role -> valid shadow page."""
    buckets: dict[int, int] = field(default_factory=dict)
    """Hash bucket -> number of valid shadow pages in its chain."""
    fifo: dict[ShadowPage, None] = field(default_factory=dict)
    """Shadow pages, oldest first."""
    rmap: dict[int, list[tuple[ShadowPage, int]]] = field(default_factory=dict)
    """gfn -> 4 KiB sptes that map it."""
    large_rmap: dict[int, list[tuple[ShadowPage, int]]] = field(default_factory=dict)
    """2 MiB region -> large sptes that map it."""
    shadowed_in_region: dict[int, int] = field(default_factory=dict)
    """2 MiB region -> indirect shadow pages of gfns in it: no large spte while it is not 0."""
    tracked: dict[int, int] = field(default_factory=dict)
    """gfn -> indirect upper-level shadow pages: such a gfn never becomes writable."""
    used_pages: int = 0
    indirect_pages: int = 0
    obsolete_roots: bool = False
    pages_peak: int = 0
    activities: dict[Activity, dict[str, int]] = field(
        default_factory=lambda: {kind: dict.fromkeys(COUNTER_NAMES, 0) for kind in Activity}
    )
    """Activity -> what was counted for it."""
    counted: dict[str, int] = field(init=False)
    """What was counted for the activity to which the present event belongs; of `activities`."""
    mechanisms: tuple[Hooks, ...] = ()
    """The plain halves of all mechanisms, in the order of their list."""
    log: list[tuple[int, str, int, int, int]] | None = None
    event: int = 0

    def __post_init__(self) -> None:
        self.counted = self.activities[Activity.NONE]

    def count(self, counter: str, amount: int = 1) -> None:
        """Add to a counter."""
        self.counted[counter] += amount

    def counters(self) -> dict[str, int]:
        """Return all counters: sums over activities, and the peak, which is in none."""
        sums = {name: sum(counts[name] for counts in self.activities.values()) for name in COUNTER_NAMES}
        return sums | {"pages_peak": self.pages_peak}

    def note(self, what: str, page: ShadowPage) -> None:
        """Log a reaction about a shadow page as (event, what, gfn, level, role word of Linux 6.1)."""
        if self.log is not None:
            role = page.role
            word = role.level | role.direct << 7 | role.access << 8
            self.log.append((self.event, what, page.gfn, role.level, word))

    def note_at(self, what: str, frame: int) -> None:
        """Log a reaction about a virtual page or a gfn as (event, what, frame, 0, 0)."""
        if self.log is not None:
            self.log.append((self.event, what, frame, 0, 0))


def new_mmu(policy: Policy, guest: Guest, *, keep_log: bool = False) -> Mmu:
    """Return an MMU without any shadow page."""
    pool = policy.knobs.pool_pages or guest.pool_pages
    vcpus = [Vcpu(previous_roots=[None] * policy.knobs.cached_roots) for _ in range(guest.vcpus)]
    mmu = Mmu(policy, guest, pool, vcpus, log=[] if keep_log else None)
    # A registry that plugs in by name: a mechanism's plain half is the class `Plain` of its module `plain`.
    halves = [import_module(f"{one.__module__}.plain").Plain for one in MECHANISMS]
    mmu.mechanisms = tuple(half(mmu) for half in halves)
    return mmu


def bucket_of(mmu: Mmu, gfn: int) -> int:
    """Return the hash bucket of a gfn (kvm_page_table_hashfn)."""
    if mmu.policy.knobs.hash == "gfn_low_10_bits":
        return gfn & 1023
    return hash_64(gfn)


def hash_64(gfn: int) -> int:
    """Return a hash of 12 bits: the product with the golden ratio (hash_64, Linux 6.1 include/linux/hash.h)."""
    return (gfn * 0x61C8864680B583EB & (1 << 64) - 1) >> 52


def indirect_pages_of(mmu: Mmu, gfn: int) -> list[ShadowPage]:
    """Return the valid indirect shadow pages of a gfn in the order of their roles, walking the hash chain."""
    mmu.count("hash_steps", mmu.buckets.get(bucket_of(mmu, gfn), 0))
    return [page for role, page in sorted(mmu.pages.get(gfn, {}).items()) if not role.direct]


def flush_remote(mmu: Mmu) -> None:
    """Make every vCPU flush its TLB before it runs the guest again (kvm_flush_remote_tlbs)."""
    for vcpu in mmu.vcpus:
        vcpu.flush_pending = True
    if len(mmu.vcpus) > 1:
        mmu.count("remote_tlb_flush")
        mmu.count("flush_ipis", len(mmu.vcpus) - 1)


def flush_local(mmu: Mmu) -> None:
    """Serve the flushes that an exit asked for; those of one exit are one flush."""
    for vcpu in mmu.vcpus:
        if vcpu.flush_pending or vcpu.flush_current_pending:
            mmu.count("tlb_flush")
        vcpu.flush_pending = vcpu.flush_current_pending = False


def top_up(mmu: Mmu, vcpu: Vcpu) -> None:
    """Fill the pte_list_desc cache if it is below its minimum (mmu_topup_memory_cache)."""
    if vcpu.desc_objects < mmu.policy.knobs.desc_minimum:
        vcpu.desc_objects = DESC_CAPACITY


def take_desc(mmu: Mmu, vcpu: Vcpu, gfn: int) -> None:
    """Take a pte_list_desc if one more spte of `gfn` needs one; an empty cache is the host's BUG_ON."""
    length = len(mmu.rmap.get(gfn, ()))
    entries = mmu.policy.knobs.desc_entries
    if length != 1 and (length < entries or length % entries):
        return
    if vcpu.desc_objects:
        vcpu.desc_objects -= 1
    else:
        mmu.count("fatal")


def write_protect(mmu: Mmu, gfn: int) -> bool:
    """Take write access from every spte that maps `gfn`; True if any had it (rmap_write_protect)."""
    changed = False
    for page, index in mmu.rmap.get(gfn, ()):
        spte = page.sptes[index]
        changed |= spte.writable
        spte.writable = False
    for page, index in list(mmu.large_rmap.get(region_of(gfn), ())):
        spte = page.sptes[index]
        if spte.writable:
            changed = True
            spte.writable = False
            if mmu.policy.knobs.large_drop_on_protect:
                drop_spte(mmu, page, index)
    return changed


def drop_spte(mmu: Mmu, page: ShadowPage, index: int) -> bool:
    """Remove an entry, leaf or link; True if it was present. A linked child stays in the hash (mmu_page_zap_pte)."""
    spte = page.sptes.pop(index, None)
    if spte is None:
        return False
    if spte.child is not None:
        spte.child.parents.remove((page, index))
        return True
    mmu.count("sptes_zapped")
    if spte.speculative:
        mmu.count("prefetch_unused")
    reverse, key = (mmu.large_rmap, region_of(spte.gfn)) if spte.large else (mmu.rmap, spte.gfn)
    reverse[key].remove((page, index))
    if not reverse[key]:
        del reverse[key]
    return True


def create_page(mmu: Mmu, gfn: int, role: Role) -> ShadowPage:
    """Make an empty shadow page and, if indirect, write-protect its gfn (kvm_mmu_alloc_shadow_page)."""
    mmu.count("mmu_cache_miss")
    page = ShadowPage(gfn, role)
    mmu.pages.setdefault(gfn, {})[role] = page
    bucket = bucket_of(mmu, gfn)
    mmu.buckets[bucket] = mmu.buckets.get(bucket, 0) + 1
    mmu.fifo[page] = None
    mmu.used_pages += 1
    mmu.pages_peak = max(mmu.pages_peak, mmu.used_pages)
    if not role.direct:
        mmu.indirect_pages += 1
        mmu.shadowed_in_region[region_of(gfn)] = mmu.shadowed_in_region.get(region_of(gfn), 0) + 1
        if role.level > 1:
            mmu.tracked[gfn] = mmu.tracked.get(gfn, 0) + 1
        if write_protect(mmu, gfn):
            flush_remote(mmu)
    mmu.note("get_page_new", page)
    return page


def unsync_leaves(page: ShadowPage) -> Iterator[ShadowPage]:
    """Yield the out-of-sync leaf pages that present links reach from an upper-level page (mmu_unsync_walk)."""
    seen: set[int] = set()
    stack = [page]
    while stack:
        parent = stack.pop()
        for _, spte in sorted(parent.sptes.items()):
            child = spte.child
            if child is None or id(child) in seen:
                continue
            seen.add(id(child))
            if child.unsync:
                yield child
            elif child.role.level > 1:
                stack.append(child)


def zap_page(mmu: Mmu, page: ShadowPage, reason: str) -> int:
    """Zap a shadow page and the out-of-sync leaves below it; return the pages freed (__kvm_mmu_prepare_zap_page)."""
    mmu.count("mmu_shadow_zapped")
    mmu.note(f"zap_{reason}", page)
    for mechanism in mmu.mechanisms:
        if page.invalid:
            mechanism.on_root_freed()
        else:
            mechanism.on_zap(page)
    freed = 0
    if page.role.level > 1:
        for child in list(unsync_leaves(page)):
            freed += zap_page(mmu, child, "child")
    for index in sorted(page.sptes):
        drop_spte(mmu, page, index)
    for parent, index in list(page.parents):
        drop_spte(mmu, parent, index)
    if not page.invalid:
        _forget(mmu, page)
    if page.unsync:
        page.unsync = False
        mmu.count("mmu_unsync", -1)
        mmu.note("sync", page)
    if page.root_count:
        mmu.obsolete_roots = True
    else:
        freed += 1
        mmu.used_pages -= 1
    page.invalid = True
    return freed


def _forget(mmu: Mmu, page: ShadowPage) -> None:
    """Take a page out of the hash and the FIFO and, if indirect, end the protection that it asked for."""
    gfn = page.gfn
    del mmu.pages[gfn][page.role]
    mmu.buckets[bucket_of(mmu, gfn)] -= 1
    del mmu.fifo[page]
    if page.role.direct:
        return
    mmu.indirect_pages -= 1
    mmu.shadowed_in_region[region_of(gfn)] -= 1
    if page.role.level > 1:
        mmu.tracked[gfn] -= 1


def make_pages_available(mmu: Mmu) -> None:
    """Zap the oldest pages until enough are free (make_mmu_pages_available, kvm_mmu_free_some_pages)."""
    available = mmu.pool_pages - mmu.used_pages
    if available >= MIN_FREE_PAGES:
        return
    skip_roots = mmu.policy.knobs.recycle_skips_roots
    freed = 0
    wanted = REFILL_PAGES - max(available, 0)
    for page in list(mmu.fifo):
        if freed >= wanted:
            break
        if page.invalid or (skip_roots and page.root_count):
            continue
        turn = zap_page(mmu, page, "recycle")
        freed += turn
        mmu.count("mmu_recycled", turn if skip_roots else 1)
    if freed:
        flush_remote(mmu)


def add_rmap(mmu: Mmu, page: ShadowPage, index: int, spte: Spte) -> None:
    """Enter a new leaf spte in the reverse map; drop all sptes of a gfn that has too many (rmap_recycle)."""
    if spte.large:
        mmu.large_rmap.setdefault(region_of(spte.gfn), []).append((page, index))
        return
    chain = mmu.rmap.setdefault(spte.gfn, [])
    chain.append((page, index))
    if len(chain) > RMAP_RECYCLE_THRESHOLD:
        for other, other_index in list(chain):
            drop_spte(mmu, other, other_index)
        flush_remote(mmu)
