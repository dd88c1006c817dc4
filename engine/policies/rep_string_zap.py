"""kvm-3.0 and the second change: a rep string store zaps the shadow page and is retried."""

from dataclasses import replace

from engine.policies.contract import Policy
from engine.policies.kvm_3_0 import POLICY as KVM_3_0

POLICY = Policy(
    name="+rep-string-zap",
    summary="kvm-3.0 and the second change: a rep string store zaps the shadow page and is retried.",
    source='"KVM: x86: optimize for guest page written" v1 (2011), second change',
    knobs=replace(
        KVM_3_0.knobs,
        rep_string_zap=True,
    ),
)
