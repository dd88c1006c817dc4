"""Zap a shadow page when a store to it has a size or a place that no page-table write has.

Source: `detect_write_misaligned`, Linux 3.0 and 6.1 arch/x86/kvm/mmu.c; the one-byte exception is the third change of
"KVM: x86: optimize for guest page written" (2011). `under_8_bytes` is a rule of the validation data only.
"""

from dataclasses import dataclass
from typing import ClassVar, Final

from engine.fields import Counter, declared
from engine.mechanisms.contract import Mechanism

RULES: Final = ("never", "before_2011", "low_byte_allowed", "under_8_bytes")


@dataclass(frozen=True, kw_only=True)
class Misaligned(Mechanism):
    """Which stores zap for their size or place."""

    misaligned: str = declared("low_byte_allowed", "which stores zap for their size or place", choices=RULES)

    counters: ClassVar[tuple[Counter, ...]] = (
        Counter(
            "misaligned_zaps",
            "1",
            "shadow pages zapped by the misaligned rule",
            "defined by this project; docs/explanation/model.md",
        ),
    )
    hooks: ClassVar[tuple[str, ...]] = ("gives_up", "watches")
