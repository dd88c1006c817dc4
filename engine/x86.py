"""Paging of x86: the bits of an entry, and how many levels of which size a paging mode has.

Source: Intel SDM volume 3, chapter 4 (4.5 for 4-level paging).
Number of levels, size of a table and bits of an entry are taken from here, in C from `core/x86.h`; that a page has
4 KiB is true of all modes, and is written out.
"""

from dataclasses import dataclass
from typing import Final

PAGE_SHIFT: Final = 12
PAGE_BYTES: Final = 1 << PAGE_SHIFT

PRESENT: Final = 1 << 0
WRITABLE: Final = 1 << 1
USER: Final = 1 << 2
ACCESSED: Final = 1 << 5
DIRTY: Final = 1 << 6
LARGE: Final = 1 << 7
"""PS: the entry of a level above the first maps a large page."""
GLOBAL: Final = 1 << 8
NO_EXECUTE: Final = 1 << 63


@dataclass(frozen=True, slots=True, kw_only=True)
class PagingMode:
    """The shape of the tables that translate an address."""

    name: str
    levels: int
    """Level of the root; the entries of level 1 map 4 KiB."""
    index_bits: int
    """Bits of an address that choose an entry of a table."""
    entry_bytes: int
    frame_bits: int
    """Bits of an entry, from bit 12 on, that name a frame."""

    @property
    def entries(self) -> int:
        """Entries of a table."""
        return 1 << self.index_bits

    @property
    def frame_mask(self) -> int:
        """All ones in the bits of a frame number."""
        return (1 << self.frame_bits) - 1

    def frame_of(self, entry: int) -> int:
        """Return the frame that an entry names."""
        return (entry >> PAGE_SHIFT) & self.frame_mask

    def index_of(self, address: int, level: int) -> int:
        """Return the entry of a table of `level` that translates an address."""
        return (address >> (PAGE_SHIFT + self.index_bits * (level - 1))) & (self.entries - 1)

    def span_pages(self, level: int) -> int:
        """Return how many 4 KiB pages an entry of a table of `level` translates."""
        return 1 << self.index_bits * (level - 1)


FOUR_LEVEL: Final = PagingMode(name="4-level", levels=4, index_bits=9, entry_bytes=8, frame_bits=40)
"""48-bit addresses, what Linux has used on x86-64 since its first port; the mode of all guests so far."""


def constants(mode: PagingMode = FOUR_LEVEL) -> dict[str, int]:
    """Return C name -> value of what `core/x86.h` stands on; bit 63 is no value of a C enumeration."""
    return {
        "PAGE_SHIFT": PAGE_SHIFT,
        "PAGE_SIZE": PAGE_BYTES,
        "ROOT_LEVEL": mode.levels,
        "INDEX_BITS": mode.index_bits,
        "ENTRIES": mode.entries,
        "ENTRY_BYTES": mode.entry_bytes,
        "FRAME_BITS": mode.frame_bits,
        "PTE_PRESENT": PRESENT,
        "PTE_WRITABLE": WRITABLE,
        "PTE_USER": USER,
        "PTE_ACCESSED": ACCESSED,
        "PTE_DIRTY": DIRTY,
        "PTE_LARGE": LARGE,
        "PTE_GLOBAL": GLOBAL,
    }
