"""KVM of Linux 3.3 to 3.6: the 2011 series as it was merged."""

from dataclasses import replace

from engine.policies.contract import Policy
from engine.policies.kvm_6_1 import POLICY as KVM_6_1

POLICY = Policy(
    name="kvm-3.3",
    summary="The 2011 series as merged: per-page flooding, tagged instructions and retry, low-byte stores allowed.",
    source="Linux 3.6 arch/x86/kvm/mmu.c, x86.c, emulate.c; commit 1cb3f3ae5a38",
    knobs=replace(
        KVM_6_1.knobs,
        update_written_spte=True,
        prefetch_stops_at_gap=False,
        prefetch_may_unsync=True,
        sync_zaps_empty=True,
        upper_create_zaps_unsync=False,
        write_tracked_shortcut=False,
        cached_roots=0,
        recycle_skips_roots=False,
        large_drop_on_protect=True,
        invlpg="kvm_3_3",
        desc_minimum=16,
        desc_entries=4,
        hash="gfn_low_10_bits",
    ),
)
