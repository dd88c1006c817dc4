"""Zap a shadow page that the guest writes again and again without using it.

Three scopes, by the knob `flood_scope`:

* `page` (Linux 3.3 and later, `detect_write_flooding`): each shadow page counts its stores; a look-up or a fault
  through the page clears the count.
* `vcpu` (Linux 3.0, `kvm_mmu_pte_write`): each vCPU counts stores in a row to one gfn. A store does not count as a
  repeat if the last spte that was installed speculatively, wherever it is, was accessed meanwhile.
* `spte` (first version of the 2011 series; the formula is an assumption, its cover letter gives only the idea): each
  shadow page counts stores whose own spte was not accessed; an accessed one clears the count.
"""

from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from engine.fields import Counter, declared
from engine.mechanisms.contract import Mechanism

SCOPES: Final = ("page", "vcpu", "spte")


@dataclass(frozen=True, kw_only=True)
class Flooding(Mechanism):
    """Who counts stores, which count, and how many flood."""

    flood_threshold: int = declared(
        3, "stores to one shadow page without a use that zap it; 0 never", minimum=0, maximum=255
    )
    flood_scope: str = declared(
        "page", "who counts: each shadow page, each vCPU (2011), or the written spte", choices=SCOPES
    )
    flood_level1: bool = declared(False, "level-1 shadow pages can flood as well")
    flood_clear_on_walk: bool = declared(True, "a fault that walks through a shadow page clears its count")
    flood_reset_on_fault: bool = declared(False, "an injected or a fixed fault clears the vCPU's count")
    flood_accessed_exception: bool = declared(False, "no repeat if the last speculative spte was accessed meanwhile")

    counters: ClassVar[tuple[Counter, ...]] = (
        Counter(
            "flood_zaps",
            "1",
            "shadow pages zapped by the flooding rule",
            "defined by this project; docs/explanation/model.md",
        ),
    )
    hooks: ClassVar[tuple[str, ...]] = (
        "on_lookup",
        "on_walk",
        "on_root",
        "on_fault",
        "on_prefetch",
        "on_write",
        "gives_up",
        "watches",
        "on_zap",
        "on_root_freed",
    )
    state: ClassVar[tuple[Literal["machine", "vcpu", "page"], ...]] = ("machine", "vcpu", "page")
