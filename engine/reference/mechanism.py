"""What the plain halves of mechanisms start from: hooks, and the machine and the knobs that they act on."""

from engine.reference.hooks import Hooks
from engine.reference.mmu import Mmu


class PlainMechanism(Hooks):
    """A mechanism of one policy; it keeps its own state, by shadow page or by vCPU, whatever the rule needs."""

    def __init__(self, mmu: Mmu) -> None:
        self.mmu = mmu
        self.knobs = mmu.policy.knobs
