"""The reference's INVLPG and injected faults: renew the spte of one address in out-of-sync pages."""

from engine.reference.faults import prefetch_gpte
from engine.reference.mmu import Mmu, drop_spte, flush_remote, top_up
from engine.reference.roots import finish_exit
from engine.reference.state import MODE, ShadowPage, Vcpu
from engine.reference.walk import is_mapped


def invalidate_page(mmu: Mmu, vcpu: Vcpu, gva: int) -> None:
    """Serve INVLPG (FNAME(invlpg)): in the current root and, since the cached roots exist, in these as well."""
    mmu.count("exits")
    mmu.count("invlpg")
    top_up(mmu, vcpu)
    roots = [vcpu.root, *vcpu.previous_roots] if mmu.policy.knobs.invlpg == "kvm_6_1" else [vcpu.root]
    for root in roots:
        if root is not None:
            mmu.count("lock_acquisitions")
            _invalidate_in_root(mmu, vcpu, root, gva)
    finish_exit(mmu)


def inject_fault(mmu: Mmu, vcpu: Vcpu, gva: int) -> None:
    """Serve a fault that the guest's own tables cause (kvm_inject_emulated_page_fault).

    If its entry is present, Linux 6.1 also drops the spte: the guest may have widened the entry without a flush.
    """
    for counter in ("exits", "pf_taken", "pf_guest", "page_walks"):
        mmu.count(counter)
    for mechanism in mmu.mechanisms:
        mechanism.on_fault(vcpu)
    mmu.note_at("fault_guest", gva >> 12)
    if mmu.policy.knobs.invlpg == "kvm_6_1" and vcpu.root is not None and is_mapped(mmu, vcpu, gva):
        top_up(mmu, vcpu)
        mmu.count("lock_acquisitions")
        _invalidate_in_root(mmu, vcpu, vcpu.root, gva)
    finish_exit(mmu)


def _invalidate_in_root(mmu: Mmu, vcpu: Vcpu, root: ShadowPage, gva: int) -> None:
    page: ShadowPage | None = root
    level = MODE.levels
    while page is not None:
        index = MODE.index_of(gva, level)
        spte = page.sptes.get(index)
        if level == 1:
            if page.unsync:
                _renew_spte(mmu, vcpu, page, index)
            return
        page = None if spte is None else spte.child
        level -= 1


def _renew_spte(mmu: Mmu, vcpu: Vcpu, page: ShadowPage, index: int) -> None:
    """Drop the spte of an out-of-sync page and install it anew from the guest's entry."""
    if not drop_spte(mmu, page, index):
        return
    flush_remote(mmu)
    if mmu.policy.knobs.invlpg == "kvm_3_0":
        from engine.reference.writes import pte_write

        pte_write(mmu, vcpu, page.gfn << 12 | index << 3, 8, by_guest=False)
    elif vcpu.desc_objects:
        prefetch_gpte(mmu, vcpu, page, index)
    else:
        mmu.count("prefetch_skipped")
