"""Guests: the size and kind of the virtual machine. Data; the guest model (engine/guest/) reads it."""

from dataclasses import dataclass
from typing import Final

CLEAR_INSTRUCTIONS: Final = ("stosq", "stosb", "mov")
WRITE_PROTECT_INSTRUCTIONS: Final = ("lock_and", "cmpxchg")


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """One kind of virtual machine. `page_cache_share` is an assumption: part of memory that holds cached files."""

    vcpus: int = 1
    memory_mib: int = 1024
    clear_instruction: str = "stosq"
    write_protect_instruction: str = "lock_and"
    page_cache_share: float = 0.5

    @property
    def pages(self) -> int:
        """4 KiB pages of guest memory."""
        return self.memory_mib * 256

    @property
    def pool_pages(self) -> int:
        """Shadow pages that KVM allows: max(64, 2 % of guest pages) (KVM_PERMILLE_MMU_PAGES, Linux 3.0 and 6.1)."""
        return max(64, self.pages * 20 // 1000)
