"""The reference's page fault path: build the shadow levels, install the spte, prefetch."""

from enum import Enum
from typing import Final

from engine import x86
from engine.reference.mmu import (
    Mmu,
    add_rmap,
    drop_spte,
    flush_remote,
    indirect_pages_of,
    make_pages_available,
    take_desc,
    top_up,
    zap_page,
)
from engine.reference.state import ACC_WRITE, MODE, Role, ShadowPage, Spte, Vcpu, Walk, access_of, region_of
from engine.reference.sync import get_page, may_write, sync_children
from engine.reference.walk import find_spte

PREFETCH_SPTES: Final = 8
"""PTE_PREFETCH_NUM: the aligned group of sptes that a fault fills (Linux 2.6.36 and later, mmu.c)."""


class Outcome(Enum):
    """What a fault came to."""

    FIXED = "fault_fixed"
    EMULATE = "fault_emulated"
    SPURIOUS = "fault_spurious"
    RETRY = "fault_retried"


def page_fault(mmu: Mmu, vcpu: Vcpu, walk: Walk, *, write: bool, dead: bool = False) -> Outcome:
    """Serve an exit by a page fault that the guest's own tables allow (FNAME(page_fault))."""
    knobs = mmu.policy.knobs
    mmu.count("exits")
    mmu.count("pf_taken")
    mmu.count("page_walks")
    if knobs.oracle and dead and write:
        unprotect(mmu, walk.gfn)
    present = find_spte(vcpu, walk.gva) is not None
    if knobs.write_tracked_shortcut and write and present and mmu.tracked.get(walk.gfn):
        _walk_shadow(mmu, vcpu, walk.gva)
        return _finish(mmu, vcpu, walk, Outcome.EMULATE)
    top_up(mmu, vcpu)
    mmu.count("lock_acquisitions")
    make_pages_available(mmu)
    if vcpu.root is None or vcpu.root.invalid:
        return _finish(mmu, vcpu, walk, Outcome.RETRY)
    return _finish(mmu, vcpu, walk, _fetch(mmu, vcpu, walk, write=write))


def _finish(mmu: Mmu, vcpu: Vcpu, walk: Walk, outcome: Outcome) -> Outcome:
    """Count the outcome."""
    if outcome is Outcome.EMULATE:
        mmu.count("pf_emulate")
    else:
        for mechanism in mmu.mechanisms:
            mechanism.on_fault(vcpu)
        if outcome is Outcome.FIXED:
            mmu.count("pf_fixed")
        elif outcome is Outcome.SPURIOUS:
            mmu.count("pf_spurious")
    mmu.note_at(outcome.value, walk.gva >> 12)
    return outcome


def unprotect(mmu: Mmu, gfn: int) -> int:
    """Zap every indirect shadow page of `gfn`; return how many there were (kvm_mmu_unprotect_page)."""
    mmu.count("lock_acquisitions")
    pages = indirect_pages_of(mmu, gfn)
    for page in pages:
        if not page.invalid:
            mmu.count("retry_zaps")
            zap_page(mmu, page, "retry")
    if pages:
        flush_remote(mmu)
    return len(pages)


def _walk_shadow(mmu: Mmu, vcpu: Vcpu, gva: int) -> None:
    """Walk through the shadow pages that translate `gva` (shadow_page_table_clear_flood)."""
    page, level = vcpu.root, MODE.levels
    while page is not None:
        for mechanism in mmu.mechanisms:
            mechanism.on_walk(page)
        spte = page.sptes.get(MODE.index_of(gva, level))
        page, level = (None if spte is None else spte.child), level - 1


def _child(mmu: Mmu, page: ShadowPage, index: int, gfn: int, role: Role) -> ShadowPage:
    """Return the page below an entry, looked up and linked unless it is linked already (kvm_mmu_get_child_sp)."""
    spte = page.sptes.get(index)
    if spte is not None and spte.child is not None and spte.child.gfn == gfn:
        return spte.child
    child = get_page(mmu, gfn, role)
    if not role.direct and role.level > 1:
        sync_children(mmu, child)
    if drop_spte(mmu, page, index):
        flush_remote(mmu)
    page.sptes[index] = Spte(gfn, child=child)
    child.parents.append((page, index))
    return child


def _goal_level(mmu: Mmu, walk: Walk) -> int:
    """Return the level at which the fault is mapped: 2 for a guest large page that the host can map large."""
    if walk.level == 1 or not mmu.policy.knobs.host_large_pages:
        return 1
    span = MODE.span_pages(walk.level)
    if walk.pte_access & ACC_WRITE and any(gfn // span == walk.gfn // span for gfn in walk.table_gfn.values()):
        return 1
    return 1 if mmu.shadowed_in_region.get(region_of(walk.gfn)) else 2


def _fetch(mmu: Mmu, vcpu: Vcpu, walk: Walk, *, write: bool) -> Outcome:
    """Build the shadow levels down to the leaf and install it (FNAME(fetch))."""
    page, level = vcpu.root, MODE.levels
    assert page is not None
    goal = 0
    while True:
        for mechanism in mmu.mechanisms:
            mechanism.on_walk(page)
        index = MODE.index_of(walk.gva, level)
        if level > walk.level:
            role = Role(level - 1, False, walk.table_access[level - 1])
            page = _child(mmu, page, index, walk.table_gfn[level - 1], role)
        else:
            goal = goal or _goal_level(mmu, walk)
            if level == goal:
                break
            base = walk.gfn & ~(MODE.span_pages(level) - 1)
            spte = page.sptes.get(index)
            if spte is not None and spte.child is not None and spte.child.role.access != walk.pte_access:
                drop_spte(mmu, page, index)
                flush_remote(mmu)
            page = _child(mmu, page, index, base, Role(level - 1, True, walk.pte_access))
        level -= 1
    base = walk.gfn & ~(MODE.span_pages(level) - 1)
    outcome = set_spte(mmu, vcpu, page, index, gfn=base, access=walk.pte_access, write=write, speculative=False)
    if outcome is not Outcome.SPURIOUS and level == 1 and mmu.policy.knobs.prefetch:
        _prefetch(mmu, vcpu, page, index)
    return outcome


def set_spte(
    mmu: Mmu,
    vcpu: Vcpu,
    page: ShadowPage,
    index: int,
    *,
    gfn: int,
    access: int,
    write: bool,
    speculative: bool,
) -> Outcome:
    """Install a leaf spte, writable if the guest allows it and no shadow page forbids it (mmu_set_spte).

    A spte that stays writable is built without its dirty bit (`make_spte`, the short cut past the hash look-up), so a
    second fault on a dirty one changes it and is no spurious fault.
    """
    old = page.sptes.get(index)
    flush = False
    if old is not None and (old.child is not None or old.gfn != gfn):
        drop_spte(mmu, page, index)
        flush, old = True, None
    wants_write = bool(access & ACC_WRITE)
    keeps_write = wants_write and old is not None and old.writable
    writable = keeps_write or (wants_write and may_write(mmu, vcpu, gfn, speculative=speculative))
    dirty = writable and not keeps_write
    outcome = Outcome.FIXED
    if old is None:
        if page.role.level == 1:
            take_desc(mmu, vcpu, gfn)
        mmu.count("sptes_prefetched" if speculative else "sptes_installed")
        spte = Spte(gfn, writable, not speculative, dirty, speculative, large=page.role.level > 1)
        page.sptes[index] = spte
        add_rmap(mmu, page, index, spte)
    elif old.writable == writable and old.accessed and old.dirty == dirty:
        outcome = Outcome.SPURIOUS
    else:
        if writable and not old.writable:
            mmu.count("write_upgrades")
        flush |= old.dirty and not dirty
        old.writable, old.dirty = writable, dirty
        use_spte(mmu, old, write=False)
    if speculative:
        for mechanism in mmu.mechanisms:
            mechanism.on_prefetch(vcpu, page, index, gfn)
    if flush:
        flush_remote(mmu)
    return Outcome.EMULATE if wants_write and not writable and write else outcome


def use_spte(mmu: Mmu, spte: Spte, *, write: bool) -> None:
    """Mark a leaf spte as the CPU does when the guest uses it."""
    spte.accessed = True
    spte.dirty |= write
    if spte.speculative:
        spte.speculative = False
        mmu.count("prefetch_used")


def prefetch_gpte(mmu: Mmu, vcpu: Vcpu, page: ShadowPage, index: int) -> bool:
    """Install the spte of a guest entry speculatively; False if the entry is absent or was not accessed."""
    gpte = mmu.memory.read(page.gfn, index)
    if not gpte & x86.PRESENT or not gpte & x86.ACCESSED or MODE.frame_of(gpte) >= mmu.guest.pages:
        return False
    access = page.role.access & access_of(gpte)
    if not gpte & x86.DIRTY:
        access &= ~ACC_WRITE
    set_spte(mmu, vcpu, page, index, gfn=MODE.frame_of(gpte), access=access, write=False, speculative=True)
    return True


def _prefetch(mmu: Mmu, vcpu: Vcpu, page: ShadowPage, index: int) -> None:
    """Fill the aligned group of sptes around a fault (FNAME(pte_prefetch), __direct_pte_prefetch)."""
    first = index & ~(PREFETCH_SPTES - 1)
    for other in range(first, first + PREFETCH_SPTES):
        if other == index or other in page.sptes:
            continue
        if page.role.direct:
            gfn = page.gfn + other
            if gfn >= mmu.guest.pages:
                return
            set_spte(mmu, vcpu, page, other, gfn=gfn, access=page.role.access, write=False, speculative=True)
        elif not prefetch_gpte(mmu, vcpu, page, other) and mmu.policy.knobs.prefetch_stops_at_gap:
            return
