"""The misaligned rule, plainly."""

from typing import ClassVar, Final

from engine.reference.mechanism import PlainMechanism
from engine.reference.state import ShadowPage, Written

ENTRY_BYTES: Final = 8


class Plain(PlainMechanism):
    """Zaps what is stored to in a way in which no table is."""

    reason: ClassVar[str] = "misaligned"

    def gives_up(self, page: ShadowPage, written: Written) -> bool:
        """Zap after a store whose size or place the policy's rule does not allow."""
        del page
        if not is_misaligned(self.knobs.misaligned, offset=written.offset, width=written.width):
            return False
        self.mmu.count("misaligned_zaps")
        self.mmu.count("mmu_flooded")
        return True


def is_misaligned(rule: str, *, offset: int, width: int) -> bool:
    """Return whether a store of `width` bytes at `offset` of the page zaps under `rule` (a knob value)."""
    if rule == "never":
        return False
    if rule == "under_8_bytes":
        return width < ENTRY_BYTES
    if rule == "low_byte_allowed" and width == 1 and offset % ENTRY_BYTES == 0:
        return False
    crosses = offset // ENTRY_BYTES != (offset + width - 1) // ENTRY_BYTES
    return crosses or width < 4
