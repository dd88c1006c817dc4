"""The registry of policies: one module and one line each, in the order in which tables show them."""

from types import MappingProxyType
from typing import Final

from engine.policies import (
    always_emulate,
    desc_topup,
    kvm_2_6_no_unsync,
    kvm_3_0,
    kvm_3_3,
    kvm_6_1,
    last_byte,
    oracle,
    rep_string_zap,
    spte_accessed_flooding,
    strict_mmu,
    tdp,
    xiao_v1,
)
from engine.policies.contract import Policy

_ALL: Final[tuple[Policy, ...]] = (
    always_emulate.POLICY,
    kvm_2_6_no_unsync.POLICY,
    kvm_3_0.POLICY,
    desc_topup.POLICY,
    rep_string_zap.POLICY,
    last_byte.POLICY,
    spte_accessed_flooding.POLICY,
    xiao_v1.POLICY,
    kvm_3_3.POLICY,
    kvm_6_1.POLICY,
    strict_mmu.POLICY,
    oracle.POLICY,
    tdp.POLICY,
)

POLICIES: Final = MappingProxyType({policy.name: policy for policy in _ALL})
"""Policy name -> policy."""
