"""Zap a shadow page that the guest writes again and again without using it.

Three scopes, by the knob `flood_scope`:

* `page` (Linux 3.3 and later, `detect_write_flooding`): each shadow page counts its stores; a look-up or a fault
  through the page clears the count.
* `vcpu` (Linux 3.0, `kvm_mmu_pte_write`): each vCPU counts stores in a row to one gfn. A store does not count as a
  repeat if the last spte that was installed speculatively, wherever it is, was accessed meanwhile.
* `spte` (first version of the 2011 series; the formula is an assumption, its cover letter gives only the idea): each
  shadow page counts stores whose own spte was not accessed; an accessed one clears the count.
"""

from engine.reference.state import ShadowPage, Spte, Vcpu


def repeats_on_vcpu(vcpu: Vcpu, gfn: int, *, accessed_exception: bool) -> bool:
    """Advance the vCPU's detector by a store to `gfn`; return whether it repeats the last one."""
    last = None if vcpu.last_updated is None else vcpu.last_updated[0].sptes.get(vcpu.last_updated[1])
    if last is not None and not last.accessed and vcpu.last_updated_gfn == gfn:
        last.accessed = True
    if gfn == vcpu.last_write_gfn and not (accessed_exception and last is not None and last.accessed):
        vcpu.last_write_count += 1
        return True
    vcpu.last_write_gfn, vcpu.last_write_count, vcpu.last_updated = gfn, 1, None
    return False


def floods_page(page: ShadowPage, *, threshold: int, level1: bool) -> bool:
    """Count a store to a shadow page; return whether it floods."""
    if not threshold or (page.role.level == 1 and not level1):
        return False
    page.write_flooding_count += 1
    return page.write_flooding_count >= threshold


def floods_spte(page: ShadowPage, spte: Spte | None, *, threshold: int, level1: bool) -> bool:
    """Count a store to an entry whose spte was not accessed (a link always was); return whether the page floods."""
    if not threshold or (page.role.level == 1 and not level1):
        return False
    if spte is not None and (spte.accessed or spte.child is not None):
        page.write_flooding_count = 0
        return False
    page.write_flooding_count += 1
    return page.write_flooding_count >= threshold
