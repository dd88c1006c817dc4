"""KVM of Linux 3.0: the state before the 2011 series."""

from dataclasses import replace

from engine.policies.contract import Policy
from engine.policies.kvm_3_3 import POLICY as KVM_3_3

POLICY = Policy(
    name="kvm-3.0",
    summary="Before the series: one flood detector per vCPU, stores under 4 bytes zap, rep emulated 1024 at a time.",
    source="Linux 3.0.31 arch/x86/kvm/mmu.c, paging_tmpl.h, x86.c",
    knobs=replace(
        KVM_3_3.knobs,
        flood_scope="vcpu",
        flood_level1=True,
        flood_clear_on_walk=False,
        flood_reset_on_fault=True,
        flood_accessed_exception=True,
        misaligned="before_2011",
        retry_untagged=False,
        recycle_in_pte_write=True,
        invlpg="kvm_3_0",
        desc_topup_in_pte_write=False,
        desc_minimum=12,
    ),
)
