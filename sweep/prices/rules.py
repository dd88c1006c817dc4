"""From measured paths to prices: which measurement prices which counter of the engine, so that each event is paid once.

A fault is an exit, a handler, and what the handler did beside: the engine's counters add up as the instructions do.
docs/how-to/measure-prices.md has the table in words.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from sweep.prices.paths import Length
from sweep.prices.regression import CONST, Fit

COLD: Final = "cold"
LOOP: Final = "loop"
STORE_WITH_UNSYNC: Final = "one store emulated, pages go out of sync: handler"
STORE_WITHOUT_UNSYNC: Final = "one store emulated, no page goes out of sync: handler"
REP_STORES: Final = 512
"""Stores of the instruction that clears a page: rep stosq."""
CLEAN_SPREAD: Final = 0.05
"""What is left to either side of what was measured, for other builds of one kernel (assumption)."""


_SURE: Final = 1.96
"""Standard errors to either side that hold 95 % of a normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """Instructions with their range, from how many exits they are, and how they were read."""

    value: float
    low: float
    high: float
    n: int
    how: str

    def less(self, other: "Amount | None", *, how: str) -> "Amount | None":
        """Return what is left without `other`; None if that is unknown."""
        if other is None:
            return None
        value, low, high = (max(one - other.value, 0.0) for one in (self.value, self.low, self.high))
        return replace(self, value=value, low=low, high=high, how=f"{self.how}, less {how}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Instructions of one count of a counter."""

    counter: str
    instructions: float
    locked: float
    low: float
    high: float
    cpi: str
    hardware: str | None
    undecoded: float
    """Of the instructions, those of fetch and decode that a CPU with decode assists saves."""
    first_pass: float
    """Instructions of a loop that is priced by itself, which run cold the first time."""
    n: int
    how: str


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """All that was measured."""

    lengths: Mapping[str, Length]
    """Path -> its length in all recordings together."""
    fits: Mapping[str, Fit]
    totals: Mapping[str, float] = field(default_factory=dict)
    """Counter -> instructions, fitted to totals of whole workloads."""
    trapped_store: float = 0.0
    """Instructions of kvm_mmu_pte_write and of the write itself in a trapped store; 0 if unknown."""
    uncovered: float = 0.0
    """Instructions of each exit that recordings of exits leave out; 0 if unknown."""
    locked_of_spte: float = 0.0
    locked_of_invlpg: float = 0.0
    decoding: float = 0.0

    def path(self, *names: str) -> Amount | None:
        """Return the length of the first of these paths that was recorded."""
        for name in names:
            found = self.lengths.get(name)
            if found is not None:
                shown = f"{name}: median {found.median:,.0f}, p10 {found.p10:,.0f}, p90 {found.p90:,.0f}, n {found.n:,}"
                return Amount(value=found.median, low=found.p10, high=found.p90, n=found.n, how=shown)
        return None

    def slope(self, feature: str, *, names: tuple[str, ...], counter: str = "") -> Amount | None:
        """Return a coefficient of the first of these fits that has it; its range holds the estimates of all of them.

        A fit to the totals of workloads is one more estimate.
        """
        found = [self.fits[name] for name in names if name in self.fits and feature in self.fits[name].coefficients]
        if not found:
            return None
        totals = [self.totals[counter]] if self.totals.get(counter) else []
        first = found[0]
        values = [max(one.coefficients[feature], 0.0) for one in found]
        ends = [one.coefficients[feature] + side * _SURE * one.errors[feature] for one in found for side in (-1, 1)]
        error = f"standard error {first.errors[feature]:,.0f}, n {first.n:,}"
        how = f"least squares over {first.name}: {values[0]:,.0f} ({error})"
        others = [f"{one.name} {value:,.0f}" for one, value in zip(found[1:], values[1:], strict=True)]
        others += [f"totals of workloads {value:,.0f}" for value in totals]
        how += f"; by {', by '.join(others)}" if others else ""
        return Amount(value=values[0], low=min(ends + totals), high=max(ends + totals), n=first.n, how=how)


_FAULTS: Final = "fixed faults"
_STORES: Final = "emulated stores"
_CR3: Final = "CR3 loads"

Reader = Callable[[Measurements], Amount | None]


def exits(found: Measurements) -> Amount | None:
    """An exit without its handler, from VMEXIT to VMRUN."""
    known = recorded_exit(found)
    if known is None:
        return None
    more = f", and {found.uncovered:,.0f} that the recording of exits leaves out (functions of the host)"
    value, low, high = (one + found.uncovered for one in (known.value, known.low, known.high))
    return replace(known, value=value, low=low, high=high, how=known.how + (more if found.uncovered else ""))


def recorded_exit(found: Measurements) -> Amount | None:
    """An exit without its handler, as far as recordings cover it."""
    known = found.path("fault fixed, one spte: outside of the handler")
    if known is not None:
        return known
    way_in, way_out = (found.path(f"fault fixed, nothing else: way {way}") for way in ("in", "out"))
    if way_in is None or way_out is None:
        return None
    sides = [(way_in.value, way_out.value), (way_in.low, way_out.low), (way_in.high, way_out.high)]
    value, low, high = (sum(side) for side in sides)
    return Amount(value=value, low=low, high=high, n=way_out.n, how=f"{way_in.how}; {way_out.how}")


def fixed(found: Measurements) -> Amount | None:
    """The handler of a fault that installs one spte and does nothing else."""
    return found.path("fault fixed, one spte: handler", "fault fixed, nothing else: handler")


def injected(found: Measurements) -> Amount | None:
    """A fault of the guest itself, without its exit."""
    whole = found.path("guest fault injected")
    if whole is not None:
        return whole.less(recorded_exit(found), how="an exit")
    return found.path("fault injected: handler")


def trapped_store(found: Measurements) -> Amount | None:
    """A trapped store, with the emulator's work for it: an iteration of an emulated rep, which runs hot.

    An instruction of 512 stores takes 511 more than one of one store, and the zap that it provokes.
    """
    rep = found.path("512 stores of a rep emulated, one zap: handler")
    one = found.path("store to a table page emulated: handler", "one store emulated: handler")
    zap = found.slope("zap", names=(_FAULTS, _STORES))
    if rep is None or one is None:
        return None
    known = one.value + (zap.value if zap is not None else 0.0)
    value, low, high = ((length - known) / (REP_STORES - 1) for length in (rep.value, rep.low, rep.high))
    how = f"{rep.how}; less one store ({one.value:,.0f}) and a zap, over {REP_STORES - 1}"
    return replace(rep, value=value, low=low, high=high, how=how)


def emulation(found: Measurements) -> Amount | None:
    """The handler of a fault whose instruction is emulated, without the trapped store."""
    store = found.path("store to a table page emulated: handler", "one store emulated: handler")
    return store.less(trapped_store(found), how="a trapped store") if store is not None else None


def mapped_first(found: Measurements) -> Amount | None:
    """What the handler does before an emulation where no page is out of sync: the page is mapped read-only."""
    store = found.path("store to a table page emulated, mapped read-only first: handler", STORE_WITHOUT_UNSYNC)
    plain = found.path("store to a table page emulated: handler", STORE_WITH_UNSYNC)
    return store.less(plain, how="a store emulated without that") if store is not None else None


def page_made(found: Measurements) -> Amount | None:
    """What a shadow page that is made adds to a fault."""
    made = found.path("fault fixed, a shadow page made: handler")
    return made.less(fixed(found), how="a plain fixed fault") if made is not None else None


def flush(found: Measurements) -> Amount | None:
    """What a flush request and its service add to an exit."""
    flushed = found.path("store to a table page emulated, then a flush")
    plain = found.path("store to a table page emulated")
    return flushed.less(plain, how="the same without") if flushed is not None else None


def cr3_load(found: Measurements) -> Amount | None:
    """A CR3 load that finds its root among the cached ones and nothing to synchronise, without exit and flush."""
    whole = found.path("CR3 load, cached root, nothing to sync")
    left = whole.less(recorded_exit(found), how="an exit") if whole is not None else None
    return left.less(flush(found), how="a flush") if left is not None else None


def invlpg(found: Measurements) -> Amount | None:
    """An INVLPG that drops nothing, without its exit."""
    whole = found.slope(CONST, names=("exits by INVLPG",))
    return whole.less(recorded_exit(found), how="an exit") if whole is not None else None


def _slope(feature: str, *names: str, counter: str = "") -> Reader:
    return lambda found: found.slope(feature, names=names, counter=counter)


READERS: Final[tuple[tuple[str, Reader, str, str | None], ...]] = (
    ("exits", exits, COLD, "exit"),
    ("pf_fixed", fixed, COLD, None),
    ("pf_emulate", mapped_first, COLD, None),
    ("pf_spurious", fixed, COLD, None),
    ("pf_guest", injected, COLD, None),
    ("insn_emulation", emulation, COLD, None),
    ("mmu_pte_write", trapped_store, LOOP, None),
    ("sptes_prefetched", _slope("pref", _FAULTS, "exits by INVLPG", counter="sptes_prefetched"), LOOP, None),
    ("mmu_cache_miss", page_made, COLD, None),
    ("mmu_shadow_zapped", _slope("zap", _FAULTS, _STORES, counter="mmu_shadow_zapped"), LOOP, None),
    ("sptes_zapped", _slope("zap_entries", _FAULTS, _STORES), LOOP, None),
    ("unsync_events", _slope("unsync", _FAULTS), COLD, None),
    ("sync_events", _slope("syncp", _CR3, _FAULTS), LOOP, None),
    ("sync_transient", _slope("syncp", _FAULTS, _CR3), LOOP, None),
    ("sync_sptes", _slope("sync_entries", _CR3, _FAULTS, counter="sync_sptes"), LOOP, None),
    ("cr3_loads", cr3_load, COLD, None),
    ("invlpg", invlpg, COLD, None),
    ("tlb_flush", flush, COLD, "tlb_refill"),
    ("flush_ipis", exits, COLD, "exit"),
)
"""Counter, what measures it, its kind of code, and what the hardware adds.

Loops: the scan of 512 entries in a zap and a sync, the sptes in it, and the emulator's iterations; all else runs once.
"""
ALL_LOCKED: Final = (
    "sptes_prefetched", "mmu_cache_miss", "mmu_shadow_zapped", "sptes_zapped", "unsync_events",
    "sync_events", "sync_transient", "sync_sptes",
)  # fmt: skip
"""What KVM does with mmu_lock held from its first to its last instruction (Linux 6.1 mmu.c, paging_tmpl.h)."""
DECODED: Final = ("cr3_loads", "invlpg")
"""Exits that a CPU without decode assists has to fetch and decode."""


def prices(found: Measurements) -> list[Price]:
    """Return the prices of all counters that were measured, in the order of the model."""
    made = []
    store = trapped_store(found)
    for counter, reader, cpi, hardware in READERS:
        amount = reader(found)
        if amount is None:
            continue
        value = round(amount.value)
        spread = (max(min(amount.low, value), 0.0), max(amount.high, value))
        made.append(
            Price(
                counter=counter,
                instructions=value,
                locked=round(_locked(counter, amount.value, found)),
                low=min(round((1 - CLEAN_SPREAD) * spread[0]), max(value - 1, 0)),
                high=max(round((1 + CLEAN_SPREAD) * spread[1]), value + 1),
                cpi=cpi,
                hardware=hardware,
                undecoded=round(min(found.decoding, amount.value)) if counter in DECODED else 0,
                first_pass=round(store.value) if counter == "insn_emulation" and store is not None else 0,
                n=amount.n,
                how=amount.how,
            )
        )
    return made


def _locked(counter: str, instructions: float, found: Measurements) -> float:
    """Return the part of a price with mmu_lock held."""
    if counter in ALL_LOCKED:
        return instructions
    part = {
        "pf_fixed": found.locked_of_spte,
        "pf_spurious": found.locked_of_spte,
        "pf_emulate": found.locked_of_spte,
        "invlpg": found.locked_of_invlpg,
        "mmu_pte_write": found.trapped_store,
    }.get(counter, 0.0)
    return min(part, instructions)
