"""Upper bound: knows which pages are tables and what each store to one should cause."""

from dataclasses import replace

from engine.policies.contract import Policy
from engine.policies.kvm_6_1 import POLICY as KVM_6_1

POLICY = Policy(
    name="oracle",
    summary="Upper bound, knows the tables: live leaf goes out of sync, live upper is emulated, dead zapped at once.",
    source="upper bound, defined by this project",
    knobs=replace(
        KVM_6_1.knobs,
        oracle=True,
    ),
)
