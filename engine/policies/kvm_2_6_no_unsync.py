"""KVM before out-of-sync shadow pages (2.6.27 and older rules on the 3.0 base)."""

from dataclasses import replace

from engine.policies.contract import Policy
from engine.policies.kvm_3_0 import POLICY as KVM_3_0

POLICY = Policy(
    name="kvm-2.6-no-unsync",
    summary="KVM before out-of-sync shadow pages (2.6.27 and older rules on the 3.0 base).",
    source="no unsync: commit 4731d4c7a077 (2008) added it; otherwise Linux 3.0.31",
    knobs=replace(
        KVM_3_0.knobs,
        unsync=False,
    ),
)
