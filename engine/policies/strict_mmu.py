"""The strict_mmu proposal: 6.1 without unsync, flooding at 10."""

from dataclasses import replace

from engine.policies.contract import Policy
from engine.policies.kvm_6_1 import POLICY as KVM_6_1

POLICY = Policy(
    name="strict-mmu",
    summary="The strict_mmu proposal: 6.1 without unsync, flooding at 10.",
    source="M. Levitsky, strict_mmu RFC (2022), not merged",
    knobs=replace(
        KVM_6_1.knobs,
        unsync=False,
        flood_threshold=10,
    ),
)
