"""kvm-3.0 and the first change of the series: fill the pte_list_desc cache in each trapped store."""

from dataclasses import replace

from engine.policies.contract import Policy
from engine.policies.kvm_3_0 import POLICY as KVM_3_0

POLICY = Policy(
    name="+desc-topup",
    summary="kvm-3.0 and the first change of the series: fill the pte_list_desc cache in each trapped store.",
    source='"KVM: x86: optimize for guest page written" v1 (2011), first change',
    knobs=replace(
        KVM_3_0.knobs,
        desc_topup_in_pte_write=True,
        desc_minimum=16,
    ),
)
