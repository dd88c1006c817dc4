"""KVM of Linux 6.1 (arch/x86/kvm/mmu): flooding by shadow page, tag and retry, no update of the written spte."""

from engine.policies.contract import Policy

POLICY = Policy(
    name="kvm-6.1",
    summary="Linux 6.1: unsync, flooding at 3 per upper-level page, untagged instructions retried, three cached roots.",
    source="Linux 6.1.175 arch/x86/kvm/mmu/mmu.c, paging_tmpl.h",
)
