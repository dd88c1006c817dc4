"""Guests: the size and kind of the virtual machine. Data; the guest model (engine/core/guest/) reads it.

A field is one line here. The reader of sweeps, the catalog, labels, the identity of cells, the columns of results and
the pages follow. A field that comes later says in `since` with which schema version of the tables it came; its default
is what all guests before it were, and their rows are read with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from engine.fields import Field, declared, fields_of

CLEAR_INSTRUCTIONS: Final = ("stosq", "stosb", "mov")
WRITE_PROTECT_INSTRUCTIONS: Final = ("lock_and", "cmpxchg")


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """One kind of virtual machine."""

    # An event holds the vCPU in a byte, and a flush its vCPUs in a word of 64 bits.
    vcpus: int = declared(1, "virtual CPUs of the guest", minimum=1, maximum=64)
    memory_mib: int = declared(
        1024, "memory of the guest", unit="MiB", minimum=16, maximum=1 << 20, source="assumption: at most 1 TiB"
    )
    clear_instruction: str = declared(
        "stosq", "instruction that clears a page: stosq, stosb or mov", choices=CLEAR_INSTRUCTIONS
    )
    write_protect_instruction: str = declared(
        "lock_and", "instruction that write-protects an entry at a fork", choices=WRITE_PROTECT_INSTRUCTIONS
    )
    page_cache_share: float = declared(
        0.5, "part of the guest's memory that holds cached files", minimum=0.0, maximum=0.95, source="assumption"
    )

    @property
    def pages(self) -> int:
        """4 KiB pages of guest memory."""
        return self.memory_mib * 256

    @property
    def pool_pages(self) -> int:
        """Shadow pages that KVM allows: max(64, 2 % of guest pages) (KVM_PERMILLE_MMU_PAGES, Linux 3.0 and 6.1)."""
        return max(64, self.pages * 20 // 1000)


GUEST_FIELDS: Final[Mapping[str, Field]] = fields_of(Guest)
"""Name -> declaration of each field of a guest."""
