"""The reference's roots: CR3 loads, flushes, INVLPG, and what an exit leaves to be done before the guest runs again."""

from engine.reference.mmu import Mmu, flush_local, make_pages_available, top_up, unsync_leaves, zap_page
from engine.reference.state import ACC_ALL, MODE, Role, ShadowPage, Vcpu
from engine.reference.sync import get_page, sync_children

ROOT_ROLE = Role(MODE.levels, False, ACC_ALL)


def _release(mmu: Mmu, root: ShadowPage) -> None:
    """Drop a reference to a root; a zapped one is freed with its last reference and counted once more."""
    root.root_count -= 1
    if root.invalid and not root.root_count:
        zap_page(mmu, root, "other")


def load_root(mmu: Mmu, vcpu: Vcpu) -> None:
    """Give a vCPU a root for its CR3 and synchronise it (kvm_mmu_load)."""
    assert vcpu.cr3_gfn is not None
    top_up(mmu, vcpu)
    mmu.count("lock_acquisitions")
    make_pages_available(mmu)
    vcpu.root = get_page(mmu, vcpu.cr3_gfn, ROOT_ROLE)
    vcpu.root.root_count += 1
    _sync_root(mmu, vcpu)


def _sync_root(mmu: Mmu, vcpu: Vcpu) -> None:
    """Synchronise everything below the current root, under the lock if there is something (kvm_mmu_sync_roots)."""
    if vcpu.root is not None and sync_children(mmu, vcpu.root):
        mmu.count("lock_acquisitions")


def finish_exit(mmu: Mmu) -> None:
    """Let mechanisms end the exit, replace roots that were zapped, serve pending flushes (vcpu_enter_guest)."""
    for mechanism in mmu.mechanisms:
        mechanism.on_exit_end()
    while mmu.obsolete_roots:
        mmu.obsolete_roots = False
        for vcpu in mmu.vcpus:
            for place, root in enumerate(vcpu.previous_roots):
                if root is not None and root.invalid:
                    vcpu.previous_roots[place] = None
                    _release(mmu, root)
            if vcpu.root is not None and vcpu.root.invalid:
                root, vcpu.root = vcpu.root, None
                _release(mmu, root)
        for vcpu in mmu.vcpus:
            if vcpu.root is None and vcpu.cr3_gfn is not None:
                load_root(mmu, vcpu)
    flush_local(mmu)


def load_cr3(mmu: Mmu, vcpu: Vcpu, gfn: int) -> None:
    """Serve a guest load of CR3 (kvm_set_cr3, kvm_mmu_new_pgd)."""
    mmu.count("exits")
    mmu.count("cr3_loads")
    for mechanism in mmu.mechanisms:
        mechanism.on_cr3(vcpu)
    vcpu.flush_current_pending = True
    if vcpu.root is not None and gfn == vcpu.cr3_gfn:
        _sync_root(mmu, vcpu)
        finish_exit(mmu)
        return
    vcpu.cr3_gfn = gfn
    if _switch_to_cached_root(mmu, vcpu, gfn):
        _sync_root(mmu, vcpu)
    else:
        flush_local(mmu)
        load_root(mmu, vcpu)
    finish_exit(mmu)


def _switch_to_cached_root(mmu: Mmu, vcpu: Vcpu, gfn: int) -> bool:
    """Rotate the current root into the cache and the root of `gfn`, if cached, out of it (fast_pgd_switch)."""
    roots = [vcpu.root, *vcpu.previous_roots]
    place = next((i for i, root in enumerate(roots) if i and root is not None and root.gfn == gfn), len(roots) - 1)
    taken = roots.pop(place)
    vcpu.previous_roots = roots
    vcpu.root = None
    if taken is None:
        return False
    if taken.gfn != gfn:
        _release(mmu, taken)
        return False
    for mechanism in mmu.mechanisms:
        mechanism.on_root(taken)
    vcpu.root = taken
    return True


def flush_all(mmu: Mmu, vcpu: Vcpu) -> None:
    """Serve a guest's flush of all translations; frees cached roots with stale leaves (kvm_vcpu_flush_tlb_guest)."""
    mmu.count("exits")
    if vcpu.root is not None:
        mmu.count("tlb_flush")
        _sync_root(mmu, vcpu)
        for place, root in enumerate(vcpu.previous_roots):
            if root is not None and any(True for _ in unsync_leaves(root)):
                vcpu.previous_roots[place] = None
                _release(mmu, root)
    finish_exit(mmu)
