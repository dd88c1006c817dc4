"""The places of the reference at which mechanisms are called; `engine/mechanisms/contract.py` says what each means.

The plain half of a mechanism is a class `Plain` in its `plain.py`, derived from `PlainMechanism`, that overrides some
of these methods.
"""

from typing import ClassVar

from engine.reference.state import ShadowPage, Vcpu, Written
from engine.vocabulary import Instruction


class Hooks:
    """A mechanism that does nothing; each method that a mechanism overrides is one of its hooks."""

    reason: ClassVar[str] = ""
    """What the log calls a zap that it asks for."""

    def on_lookup(self, page: ShadowPage) -> None:
        """A shadow page is looked up or made."""

    def on_walk(self, page: ShadowPage) -> None:
        """A fault walks through a shadow page."""

    def on_root(self, page: ShadowPage) -> None:
        """A vCPU takes a cached root."""

    def on_cr3(self, vcpu: Vcpu) -> None:
        """The guest loads CR3."""

    def on_fault(self, vcpu: Vcpu) -> None:
        """A fault was served without emulation, or injected."""

    def on_prefetch(self, vcpu: Vcpu, page: ShadowPage, index: int, gfn: int) -> None:
        """A leaf was installed speculatively."""

    def on_trap(self, vcpu: Vcpu, gva: int, instruction: Instruction) -> bool:
        """Tell whether to zap the shadow pages of a trapped store and let the guest try again."""
        del vcpu, gva, instruction
        return False

    def on_write(self, vcpu: Vcpu, written: Written) -> None:
        """A trapped store of the guest is emulated."""

    def gives_up(self, page: ShadowPage, written: Written) -> bool:
        """Tell whether to zap a shadow page of a stored table."""
        del page, written
        return False

    def may_unsync(self, page: ShadowPage, *, speculative: bool) -> bool:
        """Tell whether a page may go out of sync."""
        del page, speculative
        return True

    def on_unsync(self, vcpu: Vcpu, page: ShadowPage) -> None:
        """A page goes out of sync by a fault of a vCPU."""

    def on_sync(self, page: ShadowPage) -> None:
        """An out-of-sync page is brought back."""

    def on_zap(self, page: ShadowPage) -> None:
        """A shadow page is zapped."""

    def on_root_freed(self) -> None:
        """The last vCPU lets go of a root that was zapped before."""

    def on_exit_end(self) -> None:
        """An exit is served."""
