"""Knobs, in which policies differ, and what a policy is: a name, knob values, a summary and a source.

Policies are data: files in configs/policies and anywhere else, which sweep/spec/policies.py reads. The knobs here are
those of the machine that all policies share; a rule that some policies have is a mechanism with knobs of its own
(engine/mechanisms/), and a policy has the knobs of all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final

from engine.fields import Field, checked, declared, fields_of
from engine.mechanisms import MECHANISMS, MechanismKnobs

INVLPG_ERAS: Final = ("kvm_3_0", "kvm_3_3", "kvm_6_1")
HASHES: Final = ("gfn_low_10_bits", "hash_64_12_bits")


@dataclass(frozen=True, kw_only=True)
class Knobs(MechanismKnobs):
    """Everything in which two policies can differ. Defaults are KVM of Linux 6.1."""

    shadow: bool = declared(True, "the guest's tables are shadowed at all (no: nested paging in hardware)")
    oracle: bool = declared(
        False, "knows which pages are linked as tables: emulates stores to live ones, zaps dead ones at once"
    )
    rep_limit: int = declared(1024, "iterations of a rep instruction emulated in one exit", minimum=1, maximum=1024)
    update_written_spte: bool = declared(False, "a trapped store to a level-1 page installs the new spte at once")
    prefetch: bool = declared(True, "a fault fills the aligned group of 8 sptes")
    prefetch_stops_at_gap: bool = declared(True, "prefetch ends at the first entry that is absent or was not accessed")
    sync_zaps_empty: bool = declared(False, "synchronisation zaps a shadow page that has no present spte left")
    upper_create_zaps_unsync: bool = declared(
        True, "a new upper-level shadow page zaps out-of-sync ones of its gfn (no: syncs them)"
    )
    write_tracked_shortcut: bool = declared(
        True, "a write fault on an upper-level table is emulated without building sptes"
    )
    cached_roots: int = declared(3, "previous roots kept beside the current one", minimum=0, maximum=3)
    recycle_skips_roots: bool = declared(True, "the pool never reclaims a root in use")
    recycle_in_pte_write: bool = declared(False, "every trapped store checks the pool")
    large_drop_on_protect: bool = declared(
        False, "write protection drops writable large sptes (no: makes them read-only)"
    )
    host_large_pages: bool = declared(True, "the host backs guest memory with 2 MiB pages")
    invlpg: str = declared("kvm_6_1", "how INVLPG is served", choices=INVLPG_ERAS)
    desc_topup_in_pte_write: bool = declared(
        True, "a trapped store fills the pte_list_desc cache first, and skips prefetch if it is empty"
    )
    desc_minimum: int = declared(
        14, "pte_list_desc objects below which the cache is filled to 40", minimum=1, maximum=40
    )
    desc_entries: int = declared(14, "sptes that one pte_list_desc holds", minimum=1, maximum=64)
    hash: str = declared("hash_64_12_bits", "hash of the shadow page table", choices=HASHES)
    pool_pages: int = declared(
        0, "shadow pages of the pool; 0: max(64, 2 % of the guest's pages)", minimum=0, maximum=1 << 20
    )


def _in_order() -> Mapping[str, Field]:
    """Return the machine's knobs, then those of each mechanism."""
    of_mechanisms = fields_of(MechanismKnobs)
    own = {name: field for name, field in fields_of(Knobs).items() if name not in of_mechanisms}
    return MappingProxyType(own | {name: one for each in MECHANISMS for name, one in fields_of(each).items()})


KNOBS: Final[Mapping[str, Field]] = _in_order()
"""Name -> declaration of each knob."""


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
            FieldError: a knob is unknown, or its value has the wrong type or is out of range.
        """
        knobs = replace(self.knobs, **checked(changes, KNOBS, what="knobs"))
        source = f"{self.name} with " + ", ".join(f"{k}={v}" for k, v in sorted(changes.items()))
        return Policy(name=name, summary=source, source=self.source, knobs=knobs)
