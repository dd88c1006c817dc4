"""The reference's look-ups and synchronisation: get_page, unsync, sync, and the write access that both decide on."""

from engine import x86
from engine.reference.mmu import (
    Mmu,
    create_page,
    drop_spte,
    flush_remote,
    indirect_pages_of,
    unsync_leaves,
    write_protect,
    zap_page,
)
from engine.reference.state import ACC_WRITE, MODE, Role, ShadowPage, Vcpu, access_of


def get_page(mmu: Mmu, gfn: int, role: Role) -> ShadowPage:
    """Return the shadow page of (gfn, role), made if there is none; an out-of-sync one is synchronised transiently."""
    zaps_unsync = mmu.policy.knobs.upper_create_zaps_unsync
    siblings = indirect_pages_of(mmu, gfn)
    page = mmu.pages.get(gfn, {}).get(role)
    if role.level > 1 and zaps_unsync:
        stale = [sibling for sibling in siblings if sibling.unsync]
        for sibling in stale:
            zap_page(mmu, sibling, "other")
        if stale:
            flush_remote(mmu)
    if page is not None and page.unsync:
        mmu.count("sync_transient")
        changed = sync_sptes(mmu, page)
        if changed:
            flush_remote(mmu)
        if _is_empty_and_zapped(mmu, page):
            page = None
    if page is not None:
        for mechanism in mmu.mechanisms:
            mechanism.on_lookup(page)
        mmu.note("get_page_existing", page)
        return page
    page = create_page(mmu, gfn, role)
    for mechanism in mmu.mechanisms:
        mechanism.on_lookup(page)
    if role.level > 1 and not role.direct and not zaps_unsync:
        sync_pages(mmu, [sibling for sibling in siblings if sibling.unsync and not sibling.invalid])
    return page


def _is_empty_and_zapped(mmu: Mmu, page: ShadowPage) -> bool:
    """Zap a page that synchronisation left without any spte, where the policy does so (sync_page before 3.8)."""
    if not mmu.policy.knobs.sync_zaps_empty or page.sptes:
        return False
    zap_page(mmu, page, "other")
    return True


def may_write(mmu: Mmu, vcpu: Vcpu | None, gfn: int, *, speculative: bool) -> bool:
    """Decide whether a spte of `gfn` may be writable (mmu_try_to_unsync_pages).

    Its pages go out of sync if need be, by the fault of a vCPU; without one none may.
    """
    pages = indirect_pages_of(mmu, gfn)
    if mmu.tracked.get(gfn):
        return False
    for page in pages:
        if vcpu is None:
            return False
        if page.unsync:
            continue
        if not all(mechanism.may_unsync(page, speculative=speculative) for mechanism in mmu.mechanisms):
            return False
        page.unsync = True
        mmu.count("unsync_events")
        mmu.count("mmu_unsync")
        mmu.note("unsync", page)
        for mechanism in mmu.mechanisms:
            mechanism.on_unsync(vcpu, page)
    return True


def sync_sptes(mmu: Mmu, page: ShadowPage) -> bool:
    """Bring the present sptes of a leaf page in line with the guest's entries; True if a flush is due (sync_page)."""
    mmu.count("sync_sptes", len(page.sptes))
    flush = False
    for index in sorted(page.sptes):
        gpte = mmu.memory.read(page.gfn, index)
        spte = page.sptes[index]
        if not gpte & x86.PRESENT or not gpte & x86.ACCESSED or MODE.frame_of(gpte) != spte.gfn:
            drop_spte(mmu, page, index)
            flush = True
            continue
        wants_write = bool(page.role.access & access_of(gpte) & ACC_WRITE and gpte & x86.DIRTY)
        writable = wants_write and (spte.writable or may_write(mmu, None, spte.gfn, speculative=True))
        dirty = writable and not spte.writable
        flush |= spte.accessed or (spte.writable and not writable) or (spte.dirty and not dirty)
        spte.writable, spte.dirty, spte.accessed = writable, dirty, False
    return flush


def sync_pages(mmu: Mmu, leaves: list[ShadowPage]) -> None:
    """Write-protect out-of-sync leaf pages and bring them in line (mmu_sync_children)."""
    protected = [write_protect(mmu, page.gfn) for page in leaves]
    if any(protected):
        flush_remote(mmu)
    flush = False
    for page in leaves:
        page.unsync = False
        mmu.count("sync_events")
        mmu.count("mmu_unsync", -1)
        mmu.note("sync", page)
        for mechanism in mmu.mechanisms:
            mechanism.on_sync(page)
        flush |= sync_sptes(mmu, page)
        flush |= _is_empty_and_zapped(mmu, page)
    if flush:
        flush_remote(mmu)


def sync_children(mmu: Mmu, page: ShadowPage) -> bool:
    """Synchronise every out-of-sync leaf below an upper-level page; True if there was one."""
    leaves = list(unsync_leaves(page))
    if leaves:
        sync_pages(mmu, leaves)
    return bool(leaves)
