"""The words that the engine, the columns and the documents share. Imports no numpy, so that anything may import it."""

from enum import IntEnum, IntFlag
from itertools import chain
from typing import Final

from engine.fields import Counter
from engine.mechanisms import MECHANISMS


class Event(IntEnum):
    """Kinds of layer-2 events; `engine.events` says what their fields mean."""

    STORE = 0
    TOUCH = 1
    GUEST_FAULT = 2
    CR3 = 3
    INVLPG = 4
    FLUSH_ALL = 5
    CONTENT = 6
    LINK = 7
    RUN = 8
    WINDOW = 9


class Operation(IntEnum):
    """Kinds of layer-1 process operations; `engine.operations` says what their fields mean."""

    SWITCH_IN = 0
    SWITCH_OUT = 1
    FAULT = 2
    MAP = 3
    UNMAP = 4
    PROTECT = 5
    BRK = 6
    REMAP = 7
    ADVISE = 8
    CLONE = 9
    EXEC = 10
    EXIT = 11


class Instruction(IntEnum):
    """Classes of storing instructions: what the emulator of a KVM since 3.3 must tell apart (Linux 3.6 emulate.c)."""

    MOV = 0
    XCHG = 1
    CMPXCHG = 2
    LOCK_AND = 3
    LOCK_OR = 4
    LOCK_BTS = 5
    LOCK_BTR = 6
    REP_STOS = 7
    REP_MOVS = 8
    MOVS = 9
    STOS = 10
    PUSH = 11
    SSE = 12
    OTHER = 13
    USER = 14


class Access(IntFlag):
    """What an access does, and marks that a STORE carries."""

    READ = 1
    WRITE = 2
    FETCH = 4
    USER = 8
    LIVE = 16
    """STORE: the page is linked as a table now (what the `oracle` policy may know)."""
    USER_VA = 32
    """STORE: goes through the address of the vCPU's last write TOUCH. TOUCH: announces it and is no access."""


class Activity(IntEnum):
    """Which guest activity an event belongs to, so that a difference can be traced to its cause."""

    NONE = 0
    FORK = 1
    EXEC = 2
    EXIT = 3
    DEMAND_FAULT = 4
    COW_FAULT = 5
    MAP = 6
    UNMAP = 7
    PROTECT = 8
    PAGE_REUSE = 9
    SWITCH = 10
    RETOUCH = 11
    KERNEL = 12


_KVM: Final = "KVM binary statistics of the same name (Linux 6.1 Documentation/virt/kvm/api.rst)"
_OURS: Final = "defined by this project; docs/explanation/model.md"

_BEFORE: Final = (
    Counter("exits", "1", "VM exits that belong to the MMU: faults, CR3 and CR4 loads, INVLPG", _KVM),
    Counter("pf_taken", "1", "exits by a page fault", _KVM),
    Counter("pf_fixed", "1", "page faults solved by installing an spte", _KVM),
    Counter("pf_emulate", "1", "page faults solved by emulating the instruction", _KVM),
    Counter("pf_spurious", "1", "page faults whose spte was right already", _KVM),
    Counter("pf_guest", "1", "page faults injected into the guest", _KVM),
    Counter("mmu_pte_write", "1", "trapped stores to shadowed pages", _KVM),
    Counter("mmu_pte_updated", "1", "sptes installed from a written gpte", _KVM),
    Counter("mmu_pde_zapped", "1", "stores of a non-zero entry to an upper-level shadow page", _KVM),
    Counter("mmu_flooded", "1", "shadow pages zapped by the flooding or the misaligned rule", _KVM),
    Counter("mmu_recycled", "1", "shadow pages zapped because the pool was full", _KVM),
    Counter("mmu_cache_miss", "1", "shadow pages created", _KVM),
    Counter("mmu_shadow_zapped", "1", "shadow pages zapped, for any reason", _KVM),
    Counter("mmu_unsync", "1", "shadow pages that went out of sync less those that came back (a gauge)", _KVM),
    Counter("invlpg", "1", "INVLPG exits", _KVM),
    Counter("tlb_flush", "1", "local TLB flushes", _KVM),
    Counter("remote_tlb_flush", "1", "flushes that interrupted at least one other vCPU", _KVM),
    Counter("insn_emulation", "1", "instructions decoded for emulation because of a page fault", _KVM),
    Counter("cr3_loads", "1", "guest loads of CR3", _OURS),
    Counter("unsync_events", "1", "shadow pages that went out of sync", _OURS),
    Counter("sync_events", "1", "out-of-sync shadow pages that were synchronised and protected again", _OURS),
    Counter("sync_transient", "1", "out-of-sync shadow pages synchronised at a look-up, left writable", _OURS),
    Counter("sync_sptes", "1", "present sptes looked at by synchronisation", _OURS),
)
"""What the machine counts, as far as it stands before the columns of mechanisms."""
_AFTER: Final = (
    Counter("rep_iterations", "1", "iterations of rep string instructions carried out by the emulator", _OURS),
    Counter("page_walks", "1", "walks of the guest's tables in software", _OURS),
    Counter("lock_acquisitions", "1", "acquisitions of mmu_lock", _OURS),
    Counter("hash_steps", "1", "shadow pages looked at in hash chains", _OURS),
    Counter("sptes_installed", "1", "leaf sptes installed by faults", _OURS),
    Counter("sptes_prefetched", "1", "leaf sptes installed speculatively", _OURS),
    Counter("prefetch_used", "1", "speculative sptes that were used later", _OURS),
    Counter("prefetch_unused", "1", "speculative sptes dropped before any use", _OURS),
    Counter("sptes_zapped", "1", "present sptes dropped", _OURS),
    Counter("write_upgrades", "1", "faults on a present read-only spte that became writable", _OURS),
    Counter("dead_table_writes", "1", "trapped stores to pages that are no table any more", _OURS),
    Counter("prefetch_skipped", "1", "speculative sptes not installed for want of a pte_list_desc", _OURS),
    Counter("fatal", "1", "pte_list_desc taken from an empty cache: BUG_ON, the host dies", _OURS),
    Counter("flush_ipis", "1", "vCPUs interrupted by remote flushes", _OURS),
    Counter("pages_peak", "1", "most shadow pages in use at any time", _OURS),
    Counter("guest_run_ns", "ns", "native run time of the guest, summed over vCPUs", _OURS),
    Counter("guest_stores", "1", "stores to pages that are or were tables", _OURS),
    Counter("guest_touches", "1", "first touches of translations", _OURS),
)
"""What else the machine counts; a new counter is a line here, with the next version of the schema in `since`."""


def _in_order() -> tuple[Counter, ...]:
    """Return all counters as columns stand: those of version 1, then later ones by their version, none ever moved."""
    own = tuple(chain.from_iterable(one.counters for one in sorted(MECHANISMS, key=lambda one: one.folder())))
    return tuple(sorted((*_BEFORE, *own, *_AFTER), key=lambda counter: counter.since or 1))


COUNTERS: Final[tuple[Counter, ...]] = _in_order()
"""Every integer that the engine yields, in column order. `pages_peak` is a maximum; all others add."""

COUNTER_NAMES: Final[tuple[str, ...]] = tuple(info.name for info in COUNTERS)
COUNTER_INDEX: Final[dict[str, int]] = {name: i for i, name in enumerate(COUNTER_NAMES)}
ACTIVITY_NAMES: Final[tuple[str, ...]] = tuple(activity.name.lower() for activity in Activity)
LANES_MAX: Final = 64
"""Most policies of a batch of a sweep: the lanes of a narrow word."""
