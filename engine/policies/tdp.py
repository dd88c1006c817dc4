"""No shadowing: nested paging in hardware."""

from dataclasses import replace

from engine.policies.contract import Policy
from engine.policies.kvm_6_1 import POLICY as KVM_6_1

POLICY = Policy(
    name="tdp",
    summary="No shadowing: nested paging in hardware.",
    source="hardware bound",
    knobs=replace(
        KVM_6_1.knobs,
        shadow=False,
    ),
)
