"""The state of the reference model: guest memory, shadow pages and their sptes, with dicts and lists, for reading.

Source of the rules: Linux 6.1 arch/x86/kvm/mmu/{mmu.c,paging_tmpl.h,spte.c}; 3.0 and 3.6 arch/x86/kvm/{mmu.c,
paging_tmpl.h,x86.c} where a knob says so. docs/explanation/model.md tells them in words.
"""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from engine import x86

MODE: Final = x86.FOUR_LEVEL
"""How the guest's tables and their shadows are shaped."""

ACC_EXEC: Final = 1
ACC_WRITE: Final = 2
ACC_USER: Final = 4
ACC_ALL: Final = 7


def access_of(gpte: int) -> int:
    """Return the access bits (exec 1, write 2, user 4) that an entry grants."""
    access = 0 if gpte & x86.NO_EXECUTE else ACC_EXEC
    if gpte & x86.WRITABLE:
        access |= ACC_WRITE
    if gpte & x86.USER:
        access |= ACC_USER
    return access


def region_of(gfn: int) -> int:
    """Return in which 2 MiB of guest memory a frame is."""
    return gfn // MODE.span_pages(2)


class Role(NamedTuple):
    """What, with the gfn, keys a shadow page (kvm_mmu_page_role, the bits that differ in a 64-bit guest)."""

    level: int
    direct: bool
    access: int


@dataclass(slots=True)
class Spte:
    """A present shadow entry: a leaf maps `gfn`, a nonleaf links `child`."""

    gfn: int
    writable: bool = False
    accessed: bool = False
    dirty: bool = False
    speculative: bool = False
    large: bool = False
    child: "ShadowPage | None" = None


@dataclass(slots=True, eq=False)
class ShadowPage:
    """512 sptes that shadow one guest page table under one role; absent entries are not in `sptes`."""

    gfn: int
    role: Role
    sptes: dict[int, Spte] = field(default_factory=dict)
    parents: list[tuple["ShadowPage", int]] = field(default_factory=list)
    root_count: int = 0
    unsync: bool = False
    invalid: bool = False


@dataclass(slots=True)
class Walk:
    """A successful walk of the guest's tables for one address."""

    gva: int
    gfn: int
    level: int
    pte_access: int
    table_gfn: dict[int, int]
    """Level -> frame of the guest table at that level."""
    table_access: dict[int, int]
    """Level -> access that the entries above that table grant."""


@dataclass(slots=True, eq=False)
class Vcpu:
    """What KVM keeps for each vCPU."""

    cr3_gfn: int | None = None
    root: ShadowPage | None = None
    previous_roots: list[ShadowPage | None] = field(default_factory=list)
    """Cached roots, last used first. A freed one leaves a hole, which moves on as an entry does."""
    desc_objects: int = 0
    store_va: int | None = None
    store_gfn: int | None = None
    flush_pending: bool = False
    flush_current_pending: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A trapped store as it is emulated: to an entry of a frame that was a table."""

    gfn: int
    index: int
    offset: int
    width: int
    """Place and bytes as KVM takes them: a 32-bit half of an entry is read again as a whole."""
    stored_offset: int
    stored_width: int
    """Place and bytes as the guest stored them."""
    by_guest: bool
    """Or INVLPG of Linux 3.0 writes what stands there."""


@dataclass(slots=True)
class GuestMemory:
    """Contents of guest frames that were ever written as tables; everything else reads as zero."""

    tables: dict[int, dict[int, int]] = field(default_factory=dict)

    def read(self, gfn: int, index: int) -> int:
        """Return an 8-byte entry."""
        table = self.tables.get(gfn)
        return table.get(index, 0) if table else 0

    def write(self, gfn: int, index: int, value: int) -> None:
        """Set an 8-byte entry."""
        self.tables.setdefault(gfn, {})[index] = value

    def fill(self, gfn: int, first: int, last: int, value: int) -> None:
        """Set the 8-byte entries from `first` to `last`."""
        self.tables.setdefault(gfn, {}).update(dict.fromkeys(range(first, last + 1), value))

    def clear(self, gfn: int) -> None:
        """Zero a page."""
        self.tables[gfn] = {}
