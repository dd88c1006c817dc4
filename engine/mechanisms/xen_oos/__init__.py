"""Let few pages of each vCPU go out of sync, and give up a table that is being cleared: the rules of Xen's shadow code.

* A page that is shadowed at level 1 and by one shadow page may go out of sync, and no other. Each vCPU has a table of
  such pages with two places for each page. A newcomer whose first place holds a page that belongs there takes it over
  and moves that one to the second place; whatever else stands in the way is resynchronised (`oos_hash_add`).
* A load of CR3 resynchronises all out-of-sync pages of the vCPU (`sh_resync_all`).
* A vCPU that stores zeros to one table again and again, with no other store and no other fault between, is taking it
  down: its shadow pages are zapped (`check_for_early_unshadow`).

Source: Xen xen/arch/x86/mm/shadow/{oos.c,hvm.c,private.h}. Xen resynchronises at once what we resynchronise before the
guest runs again. Snapshots, by which Xen looks at changed entries only, and limits of writable mappings are left out.
"""

from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from engine.fields import Counter, declared
from engine.mechanisms.contract import Mechanism

HASHES: Final = ("gfn", "scattered")
_OURS: Final = "defined by this project; engine/mechanisms/xen_oos"


@dataclass(frozen=True, kw_only=True)
class XenOos(Mechanism):
    """How many pages, where they are noted, and how many zeros."""

    xen_oos_pages: int = declared(
        0,
        "level-1 pages of a vCPU that may be out of sync, each with one shadow page; 0: no limit",
        minimum=0,
        maximum=8,
        source="Xen: 3 (SHADOW_OOS_PAGES)",
    )
    xen_oos_hash: str = declared(
        "gfn",
        "what names the places of an out-of-sync page: its gfn, or a hash of that",
        choices=HASHES,
        source="assumption: Xen takes the machine frame, which we do not know; guests are given frames in order",
    )
    xen_resync_at_cr3: bool = declared(False, "a load of CR3 resynchronises all out-of-sync pages of the vCPU")
    xen_zero_writes: int = declared(
        0,
        "aligned stores of 0 in a row to one table that zap its shadow pages; 0 never",
        minimum=0,
        maximum=255,
        source="Xen: 2 (check_for_early_unshadow)",
    )

    counters: ClassVar[tuple[Counter, ...]] = (
        Counter(
            "oos_evictions",
            "1",
            "out-of-sync pages that had to make room for another of their vCPU",
            _OURS,
            since=4,
            unpriced="a reason; what is done to the page is priced as sync_events and sync_sptes",
        ),
        Counter(
            "zero_write_zaps",
            "1",
            "shadow pages zapped because their table was being cleared",
            _OURS,
            since=4,
            unpriced="a reason; the zap is priced as mmu_shadow_zapped",
        ),
    )
    hooks: ClassVar[tuple[str, ...]] = (
        "on_cr3",
        "on_fault",
        "on_write",
        "gives_up",
        "watches",
        "may_unsync",
        "on_unsync",
        "on_sync",
        "on_zap",
        "on_exit_end",
    )
    state: ClassVar[tuple[Literal["machine", "vcpu", "page"], ...]] = ("machine", "vcpu")
