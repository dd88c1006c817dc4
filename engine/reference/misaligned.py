"""Zap a shadow page when a store to it has a size or a place that no page-table write has.

Source: `detect_write_misaligned`, Linux 3.0 and 6.1 arch/x86/kvm/mmu.c; the one-byte exception is the third change of
"KVM: x86: optimize for guest page written" (2011). `under_8_bytes` is a rule of the validation data only.
"""

from typing import Final

ENTRY_BYTES: Final = 8


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
