"""Zap a shadow page and retry when the storing instruction is none that writes page tables.

Source: `retry_instruction` and the PageTable tag of the opcode table, Linux 3.6 and 6.1 arch/x86/kvm/{x86,emulate}.c;
commit 1cb3f3ae5a38. `rep_string_zap` is the second change of the first version of that series, which looked at the
repeat prefix only.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from engine.fields import Counter, declared
from engine.mechanisms.contract import Mechanism


@dataclass(frozen=True, kw_only=True)
class Retry(Mechanism):
    """Which instructions are retried."""

    retry_untagged: bool = declared(
        True, "an instruction that writes no page tables zaps the shadow page and is retried"
    )
    rep_string_zap: bool = declared(False, "a rep string instruction zaps the shadow page and is retried")

    counters: ClassVar[tuple[Counter, ...]] = (
        Counter(
            "retry_zaps",
            "1",
            "shadow pages zapped to retry an instruction that writes no page table",
            "defined by this project; docs/explanation/model.md",
        ),
    )
    hooks: ClassVar[tuple[str, ...]] = ("on_trap", "may_retry")
    state: ClassVar[tuple[Literal["machine", "vcpu", "page"], ...]] = ("vcpu",)
