"""kvm-3.0 and the third change: a one-byte store at the start of an entry does not zap."""

from dataclasses import replace

from engine.policies.contract import Policy
from engine.policies.kvm_3_0 import POLICY as KVM_3_0

POLICY = Policy(
    name="+last-byte",
    summary="kvm-3.0 and the third change: a one-byte store at the start of an entry does not zap.",
    source='"KVM: x86: optimize for guest page written" v1 (2011), third change',
    knobs=replace(
        KVM_3_0.knobs,
        misaligned="low_byte_allowed",
    ),
)
