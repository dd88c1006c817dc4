"""kvm-3.0 and the fourth change: flooding counts stores whose own spte was not accessed."""

from dataclasses import replace

from engine.policies.contract import Policy
from engine.policies.kvm_3_0 import POLICY as KVM_3_0

POLICY = Policy(
    name="+spte-accessed-flooding",
    summary="kvm-3.0 and the fourth change: flooding counts stores whose own spte was not accessed.",
    source=(
        '"KVM: x86: optimize for guest page written" v1 (2011), fourth change; '
        "the formula is an assumption (docs/explanation/model.md)"
    ),
    knobs=replace(
        KVM_3_0.knobs,
        flood_scope="spte",
        flood_reset_on_fault=False,
        flood_accessed_exception=False,
    ),
)
