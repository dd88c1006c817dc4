"""Flooding, plainly."""

from dataclasses import dataclass
from typing import ClassVar

from engine.reference.mechanism import PlainMechanism
from engine.reference.mmu import Mmu
from engine.reference.state import ShadowPage, Spte, Vcpu, Written


@dataclass(slots=True)
class Row:
    """Stores in a row that a vCPU has made to one gfn, and its last speculative spte."""

    gfn: int | None = None
    stores: int = 0
    updated: tuple[ShadowPage, int] | None = None
    updated_gfn: int = 0

    @property
    def updated_spte(self) -> Spte | None:
        """The last speculative spte, if it is still there."""
        return None if self.updated is None else self.updated[0].sptes.get(self.updated[1])


class Plain(PlainMechanism):
    """Counts for pages or for vCPUs, as `flood_scope` says."""

    reason: ClassVar[str] = "flood"

    def __init__(self, mmu: Mmu) -> None:
        super().__init__(mmu)
        self._rows = {vcpu: Row() for vcpu in mmu.vcpus}
        self._counts: dict[ShadowPage, int] = {}
        """Shadow page -> stores to it without a use."""
        self._repeats = False
        """The store that is emulated now is one too many for its vCPU."""

    def on_lookup(self, page: ShadowPage) -> None:
        """Forget the count of a page that is used."""
        self._counts.pop(page, None)

    def on_walk(self, page: ShadowPage) -> None:
        """Forget the count of a page that a fault uses (`clear_sp_write_flooding_count`)."""
        if self.knobs.flood_clear_on_walk:
            self._counts.pop(page, None)

    def on_root(self, page: ShadowPage) -> None:
        """Forget the count of a root that is loaded."""
        self._counts.pop(page, None)

    def on_fault(self, vcpu: Vcpu) -> None:
        """Begin to count anew after a fault that is no store to a table."""
        if self.knobs.flood_reset_on_fault:
            self._rows[vcpu].stores = 0

    def on_prefetch(self, vcpu: Vcpu, page: ShadowPage, index: int, gfn: int) -> None:
        """Remember the last speculative spte (`last_pte_updated`)."""
        self._rows[vcpu].updated, self._rows[vcpu].updated_gfn = (page, index), gfn

    def on_zap(self, page: ShadowPage) -> None:
        """Forget the page, and for all vCPUs the last speculative spte (Linux 3.0 `kvm_mmu_prepare_zap_page`)."""
        self._counts.pop(page, None)
        self.on_root_freed()

    def on_root_freed(self) -> None:
        """Forget for all vCPUs the last speculative spte."""
        for row in self._rows.values():
            row.updated = None

    def on_write(self, vcpu: Vcpu, written: Written) -> None:
        """Advance the vCPU's row, where vCPUs count."""
        self._repeats = False
        if self.knobs.flood_scope == "vcpu":
            repeats = self._is_repeat(self._rows[vcpu], written.gfn)
            self._repeats = repeats and 0 < self.knobs.flood_threshold <= self._rows[vcpu].stores

    def gives_up(self, page: ShadowPage, written: Written) -> bool:
        """Zap a page that floods; the oracle needs no such guess."""
        if not written.by_guest or self.knobs.oracle or not self._floods(page, written.index):
            return False
        self.mmu.count("flood_zaps")
        self.mmu.count("mmu_flooded")
        return True

    def _is_repeat(self, row: Row, gfn: int) -> bool:
        """Count a store to `gfn`; return whether it repeats the last one."""
        last = row.updated_spte
        if last is not None and not last.accessed and row.updated_gfn == gfn:
            last.accessed = True
        spared = self.knobs.flood_accessed_exception and last is not None and last.accessed
        if gfn == row.gfn and not spared:
            row.stores += 1
            return True
        row.gfn, row.stores, row.updated = gfn, 1, None
        return False

    def _floods(self, page: ShadowPage, index: int) -> bool:
        """Count a store to a page where pages count; return whether it floods."""
        if not self.knobs.flood_threshold or (page.role.level == 1 and not self.knobs.flood_level1):
            return False
        if self.knobs.flood_scope == "vcpu":
            return self._repeats
        spte = page.sptes.get(index)
        if self.knobs.flood_scope == "spte" and spte is not None and (spte.accessed or spte.child is not None):
            self._counts.pop(page, None)
            return False
        self._counts[page] = self._counts.get(page, 0) + 1
        return self._counts[page] >= self.knobs.flood_threshold
