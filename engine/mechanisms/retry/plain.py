"""The retry of instructions that write no page tables, plainly."""

from typing import ClassVar, Final

from engine.reference.mechanism import PlainMechanism
from engine.reference.mmu import Mmu
from engine.reference.state import Vcpu
from engine.vocabulary import Instruction

TAGGED: Final = frozenset(
    {
        Instruction.MOV,
        Instruction.XCHG,
        Instruction.CMPXCHG,
        Instruction.LOCK_AND,
        Instruction.LOCK_OR,
        Instruction.LOCK_BTS,
        Instruction.USER,
    },
)
"""Classes that Linux tags as page-table writes. A user-mode store is a mov unless its class says otherwise."""

REP: Final = frozenset({Instruction.REP_STOS, Instruction.REP_MOVS})
"""Classes with a repeat prefix."""


class Plain(PlainMechanism):
    """Zaps and retries, but not twice in a row at one place (`last_retry_eip`)."""

    reason: ClassVar[str] = "retry"

    def __init__(self, mmu: Mmu) -> None:
        super().__init__(mmu)
        self._last: dict[Vcpu, tuple[Instruction, int]] = {}
        """vCPU -> instruction and address of its last retry."""

    def on_trap(self, vcpu: Vcpu, gva: int, instruction: Instruction) -> bool:
        """Retry what the policy retries, unless that was done just now."""
        last, here = self._last.pop(vcpu, None), (instruction, gva)
        retries = (self.knobs.rep_string_zap and instruction in REP) or (
            self.knobs.retry_untagged and instruction not in TAGGED
        )
        if not retries or here == last:
            return False
        self._last[vcpu] = here
        return True
