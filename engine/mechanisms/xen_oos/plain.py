"""Xen's rules for out-of-sync pages and for tables that are being cleared, plainly."""

from dataclasses import dataclass, field
from typing import ClassVar

from engine.reference.mechanism import PlainMechanism
from engine.reference.mmu import Mmu, hash_64
from engine.reference.state import ShadowPage, Vcpu, Written
from engine.reference.sync import sync_pages


@dataclass(slots=True)
class Noted:
    """What Xen notes about a vCPU."""

    places: list[ShadowPage | None] = field(default_factory=list)
    """Its out-of-sync pages."""
    zeroed: int | None = None
    """The gfn to which it stores zeros."""
    zeros: int = 0


class Plain(PlainMechanism):
    """Notes out-of-sync pages, and zeros in a row, for each vCPU."""

    reason: ClassVar[str] = "cleared"

    def __init__(self, mmu: Mmu) -> None:
        super().__init__(mmu)
        self._noted = {vcpu: Noted([None] * self.knobs.xen_oos_pages) for vcpu in mmu.vcpus}
        self._due: set[ShadowPage] = set()
        """Pages to resynchronise before the guest runs again."""
        self._is_cleared = False
        """The store that is emulated now is one zero too many."""

    def may_unsync(self, page: ShadowPage, *, speculative: bool) -> bool:
        """Allow it for a page of which there is no other shadow page."""
        del speculative
        shadows = [role for role in self.mmu.pages[page.gfn] if not role.direct]
        return not self.knobs.xen_oos_pages or len(shadows) == 1

    def on_unsync(self, vcpu: Vcpu, page: ShadowPage) -> None:
        """Note the page at one of its two places; what is there makes room (`oos_hash_add`)."""
        places = self._noted[vcpu].places
        if not places:
            return
        at = self._home(page)
        occupant = places[at]
        if occupant is not None and len(places) > 1 and self._home(occupant) == at:
            places[at], page = page, occupant
            at = (at + 1) % len(places)
        victim = places[at]
        if victim is not None:
            self.mmu.count("oos_evictions")
            self._due.add(victim)
        places[at] = page

    def on_cr3(self, vcpu: Vcpu) -> None:
        """Resynchronise all pages of the vCPU (`sh_resync_all`)."""
        if self.knobs.xen_resync_at_cr3:
            places = self._noted[vcpu].places
            self._due.update(page for page in places if page is not None)
            places[:] = [None] * len(places)

    def on_sync(self, page: ShadowPage) -> None:
        """Forget a page that is in sync."""
        self._due.discard(page)
        for noted in self._noted.values():
            noted.places = [None if one is page else one for one in noted.places]

    def on_zap(self, page: ShadowPage) -> None:
        """Forget a page that is no more."""
        self.on_sync(page)

    def on_exit_end(self) -> None:
        """Resynchronise what is due, in the order of gfns."""
        if self._due:
            sync_pages(self.mmu, sorted(self._due, key=lambda page: (page.gfn, page.role)))

    def on_fault(self, vcpu: Vcpu) -> None:
        """Begin to count anew after any other fault (`reset_early_unshadow`)."""
        self._noted[vcpu].zeros = 0

    def on_write(self, vcpu: Vcpu, written: Written) -> None:
        """Count an aligned zero, or begin anew."""
        noted = self._noted[vcpu]
        is_aligned = written.stored_width >= 4 and written.stored_offset % written.stored_width == 0
        if not is_aligned or self.mmu.memory.read(written.gfn, written.index):
            noted.zeros = 0
        else:
            noted.zeros = noted.zeros + 1 if noted.zeroed == written.gfn else 1
            noted.zeroed = written.gfn
        self._is_cleared = 0 < self.knobs.xen_zero_writes <= noted.zeros

    def gives_up(self, page: ShadowPage, written: Written) -> bool:
        """Zap the shadow pages of a table that is being cleared."""
        del page
        if not written.by_guest or not self._is_cleared:
            return False
        self.mmu.count("zero_write_zaps")
        return True

    def _home(self, page: ShadowPage) -> int:
        """Return the first place of a page."""
        name = page.gfn
        if self.knobs.xen_oos_hash == "scattered":
            name = hash_64(name)
        return name % self.knobs.xen_oos_pages
