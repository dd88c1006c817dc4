"""Let level-1 shadow pages go out of sync, so that the guest writes its tables without a trap until the next flush.

Source: `mmu_try_to_unsync_pages`, Linux 6.1 arch/x86/kvm/mmu/mmu.c; `mmu_need_write_protect`, Linux 3.0 and 3.6
arch/x86/kvm/mmu.c, with its module parameter `oos_shadow`.
"""

from dataclasses import dataclass
from typing import ClassVar

from engine.fields import declared
from engine.mechanisms.contract import Mechanism


@dataclass(frozen=True, kw_only=True)
class Unsync(Mechanism):
    """Whether pages go out of sync, and for whom."""

    unsync: bool = declared(True, "level-1 shadow pages may go out of sync")
    prefetch_may_unsync: bool = declared(False, "a speculative spte may put the page that it maps out of sync")

    hooks: ClassVar[tuple[str, ...]] = ("may_unsync",)
