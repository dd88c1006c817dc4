"""Zap a shadow page and retry when the storing instruction is none that writes page tables.

Source: `retry_instruction` and the PageTable tag of the opcode table, Linux 3.6 and 6.1 arch/x86/kvm/{x86,emulate}.c;
commit 1cb3f3ae5a38. `rep_string_zap` is the second change of the first version of that series, which looked at the
repeat prefix only.
"""

from typing import Final

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
