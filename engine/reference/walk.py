"""The walks of the reference: through the guest's tables, and through the shadow pages to the entry of an address."""

from engine import x86
from engine.reference.mmu import (
    Mmu,
)
from engine.reference.state import ACC_ALL, ACC_WRITE, MODE, Spte, Vcpu, Walk, access_of


def walk_guest(mmu: Mmu, vcpu: Vcpu, gva: int, *, write: bool) -> Walk | None:
    """Walk the guest's tables as the CPU does, setting accessed and dirty bits.

    None if they do not allow the access, or if they lead out of the guest's memory: devices are no business of the MMU.
    """
    if vcpu.cr3_gfn is None:
        return None
    table, access, level = vcpu.cr3_gfn, ACC_ALL, MODE.levels
    tables, accesses, visited = {}, {}, []
    while True:
        tables[level], accesses[level] = table, access
        index = MODE.index_of(gva, level)
        gpte = mmu.memory.read(table, index)
        if not gpte & x86.PRESENT:
            return None
        visited.append((table, index, gpte))
        access &= access_of(gpte)
        if level == 1 or (gpte & x86.LARGE and level < MODE.levels):
            break
        table, level = MODE.frame_of(gpte), level - 1
        if table >= mmu.guest.pages:
            return None
    span = MODE.span_pages(level) - 1
    gfn = (MODE.frame_of(gpte) & ~span) | (gva >> 12 & span)
    if gfn >= mmu.guest.pages or (write and not access & ACC_WRITE):
        return None
    for frame, index, entry in visited:
        if not entry & x86.ACCESSED:
            mmu.memory.write(frame, index, entry | x86.ACCESSED)
    if write and not gpte & x86.DIRTY:
        mmu.memory.write(table, index, mmu.memory.read(table, index) | x86.DIRTY)
    elif not gpte & x86.DIRTY:
        access &= ~ACC_WRITE
    return Walk(gva, gfn, level, access, tables, accesses)


def is_mapped(mmu: Mmu, vcpu: Vcpu, gva: int) -> bool:
    """Return whether the guest's entries for `gva` are present, whatever access they grant."""
    if vcpu.cr3_gfn is None:
        return False
    table, level = vcpu.cr3_gfn, MODE.levels
    while True:
        gpte = mmu.memory.read(table, MODE.index_of(gva, level))
        if not gpte & x86.PRESENT:
            return False
        if level == 1 or (gpte & x86.LARGE and level < MODE.levels):
            return True
        table, level = MODE.frame_of(gpte), level - 1
        if table >= mmu.guest.pages:
            return False


def find_spte(vcpu: Vcpu, gva: int) -> Spte | None:
    """Return the leaf spte that translates `gva` now, or None."""
    page, level = vcpu.root, MODE.levels
    while page is not None:
        spte = page.sptes.get(MODE.index_of(gva, level))
        if spte is None or spte.child is None:
            return spte
        page, level = spte.child, level - 1
    return None
