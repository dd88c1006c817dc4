"""All four changes of the first version of the series."""

from dataclasses import replace

from engine.policies.contract import Policy
from engine.policies.kvm_3_0 import POLICY as KVM_3_0

POLICY = Policy(
    name="xiao-v1",
    summary="All four changes of the first version of the series.",
    source='"KVM: x86: optimize for guest page written" v1 (2011)',
    knobs=replace(
        KVM_3_0.knobs,
        desc_topup_in_pte_write=True,
        desc_minimum=16,
        rep_string_zap=True,
        misaligned="low_byte_allowed",
        flood_scope="spte",
        flood_reset_on_fault=False,
        flood_accessed_exception=False,
    ),
)
