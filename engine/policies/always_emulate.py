"""Never unsync, never zap for a store: emulate every one."""

from dataclasses import replace

from engine.policies.contract import Policy
from engine.policies.kvm_6_1 import POLICY as KVM_6_1

POLICY = Policy(
    name="always-emulate",
    summary="Never unsync, never zap for a store: emulate every one.",
    source="baseline, defined by this project",
    knobs=replace(
        KVM_6_1.knobs,
        unsync=False,
        flood_threshold=0,
        misaligned="never",
        retry_untagged=False,
    ),
)
