"""What a policy is: a name, a base, knob values and a source. Policies are data; mechanisms and detectors read knobs.

A policy may set any knob. It must not hold code: a rule that no knob expresses is a new detector (engine/detectors/).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

MISALIGNED_RULES: Final = ("never", "before_2011", "low_byte_allowed", "under_8_bytes")
FLOOD_SCOPES: Final = ("page", "vcpu", "spte")
INVLPG_ERAS: Final = ("kvm_3_0", "kvm_3_3", "kvm_6_1")
HASHES: Final = ("gfn_low_10_bits", "hash_64_12_bits")


def _knob(default: Any, help_text: str, **bounds: Any) -> Any:
    return field(default=default, metadata={"help": help_text, **bounds})


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """Everything in which two policies can differ. Defaults are KVM of Linux 6.1."""

    shadow: bool = _knob(True, "the guest's tables are shadowed at all (no: nested paging in hardware)")
    oracle: bool = _knob(
        False, "knows which pages are linked as tables: emulates stores to live ones, zaps dead ones at once"
    )
    unsync: bool = _knob(True, "level-1 shadow pages may go out of sync")
    flood_threshold: int = _knob(
        3, "stores to one shadow page without a use that zap it; 0 never", minimum=0, maximum=255
    )
    flood_scope: str = _knob(
        "page", "who counts: each shadow page, each vCPU (2011), or the written spte", choices=FLOOD_SCOPES
    )
    flood_level1: bool = _knob(False, "level-1 shadow pages can flood as well")
    flood_clear_on_walk: bool = _knob(True, "a fault that walks through a shadow page clears its count")
    flood_reset_on_fault: bool = _knob(False, "an injected or a fixed fault clears the vCPU's count")
    flood_accessed_exception: bool = _knob(False, "no repeat if the last speculative spte was accessed meanwhile")
    misaligned: str = _knob("low_byte_allowed", "which stores zap for their size or place", choices=MISALIGNED_RULES)
    retry_untagged: bool = _knob(True, "an instruction that writes no page tables zaps the shadow page and is retried")
    rep_string_zap: bool = _knob(False, "a rep string instruction zaps the shadow page and is retried")
    rep_limit: int = _knob(1024, "iterations of a rep instruction emulated in one exit", minimum=1, maximum=1024)
    update_written_spte: bool = _knob(False, "a trapped store to a level-1 page installs the new spte at once")
    prefetch: bool = _knob(True, "a fault fills the aligned group of 8 sptes")
    prefetch_stops_at_gap: bool = _knob(True, "prefetch ends at the first entry that is absent or was not accessed")
    prefetch_may_unsync: bool = _knob(False, "a speculative spte may put the page that it maps out of sync")
    sync_zaps_empty: bool = _knob(False, "synchronisation zaps a shadow page that has no present spte left")
    upper_create_zaps_unsync: bool = _knob(
        True, "a new upper-level shadow page zaps out-of-sync ones of its gfn (no: syncs them)"
    )
    write_tracked_shortcut: bool = _knob(
        True, "a write fault on an upper-level table is emulated without building sptes"
    )
    cached_roots: int = _knob(3, "previous roots kept beside the current one", minimum=0, maximum=3)
    recycle_skips_roots: bool = _knob(True, "the pool never reclaims a root in use")
    recycle_in_pte_write: bool = _knob(False, "every trapped store checks the pool")
    large_drop_on_protect: bool = _knob(False, "write protection drops writable large sptes (no: makes them read-only)")
    host_large_pages: bool = _knob(True, "the host backs guest memory with 2 MiB pages")
    invlpg: str = _knob("kvm_6_1", "how INVLPG is served", choices=INVLPG_ERAS)
    desc_topup_in_pte_write: bool = _knob(
        True, "a trapped store fills the pte_list_desc cache first, and skips prefetch if it is empty"
    )
    desc_minimum: int = _knob(14, "pte_list_desc objects below which the cache is filled to 40", minimum=1, maximum=40)
    desc_entries: int = _knob(14, "sptes that one pte_list_desc holds", minimum=1, maximum=64)
    hash: str = _knob("hash_64_12_bits", "hash of the shadow page table", choices=HASHES)
    pool_pages: int = _knob(
        0, "shadow pages of the pool; 0: max(64, 2 % of the guest's pages)", minimum=0, maximum=1 << 22
    )


KNOBS: Final[dict[str, Any]] = {f.name: f for f in fields(Knobs)}
"""Knob name -> dataclass field; `.metadata` holds help, choices, minimum, maximum; `.type` and `.default` as usual."""


class KnobError(ValueError):
    """A knob is unknown or has a value outside its range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A named set of knobs and where it comes from."""

    name: str
    summary: str
    source: str
    knobs: Knobs = field(default_factory=Knobs)

    def override(self, name: str, changes: Mapping[str, Any]) -> "Policy":
        """Return this policy under another name with some knobs changed.

        Raises:
            KnobError: a knob is unknown, or its value has the wrong type or is out of range.
        """
        for knob, value in changes.items():
            check_knob(knob, value)
        source = f"{self.name} with " + ", ".join(f"{k}={v}" for k, v in sorted(changes.items()))
        return Policy(name=name, summary=source, source=self.source, knobs=replace(self.knobs, **changes))


def check_knob(knob: str, value: object) -> None:
    """Raise KnobError unless `value` is allowed for `knob`."""
    if knob not in KNOBS:
        raise KnobError(f"unknown knob '{knob}'. Allowed: {', '.join(sorted(KNOBS))}")
    info = KNOBS[knob]
    expected = type(info.default)
    if type(value) is not expected:
        raise KnobError(f"knob '{knob}': expected {expected.__name__}, found {value!r}")
    choices = info.metadata.get("choices")
    if choices is not None and value not in choices:
        raise KnobError(f"knob '{knob}': {value!r} is not one of {', '.join(choices)}")
    low, high = info.metadata.get("minimum"), info.metadata.get("maximum")
    if low is not None and not low <= value <= high:
        raise KnobError(f"knob '{knob}': {value} is outside {low} to {high}")
