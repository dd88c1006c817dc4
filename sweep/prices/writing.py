"""Shows what was measured: the cost model as YAML, tables for people, JSON for programs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from engine.vocabulary import COUNTERS
from sweep.prices.measuring import Measured
from sweep.prices.rules import READERS
from sweep.rendering import render

SUMMARY: Final = "instructions of each counted event in a recorded KVM, without hardware and clock"
_IN_OTHERS: Final[Mapping[str, str]] = {
    "rep_iterations": "priced as mmu_pte_write: each iteration is a trapped store",
    "page_walks": "part of the paths that walk: of each fault and of each emulated store",
    "lock_acquisitions": "part of the paths that take the lock; waiting for it is computed",
    "hash_steps": "part of the paths that look a page up",
    "remote_tlb_flush": "recordings of one vCPU have none; what interrupts another vCPU is the machine's",
    "pf_taken": "its exit and what solves it are priced",
    "mmu_pte_updated": "priced as sptes_prefetched, which counts these sptes too",
    "mmu_pde_zapped": "part of the trapped store",
    "mmu_flooded": "a reason; the zap is priced as mmu_shadow_zapped",
    "mmu_recycled": "a reason; the zap is priced as mmu_shadow_zapped",
    "mmu_unsync": "a gauge; unsync_events are priced",
    "flood_zaps": "a reason; the zap is priced as mmu_shadow_zapped",
    "misaligned_zaps": "a reason; the zap is priced as mmu_shadow_zapped",
    "retry_zaps": "a reason; the zap is priced as mmu_shadow_zapped",
    "sptes_installed": "priced as pf_fixed",
    "prefetch_used": "a fault that did not happen",
    "prefetch_unused": "priced when it was installed",
    "write_upgrades": "priced as pf_fixed",
    "dead_table_writes": "priced as mmu_pte_write",
    "prefetch_skipped": "a test of a counter",
    "fatal": "no time: the host dies, and summaries say so",
    "pages_peak": "a maximum",
    "guest_run_ns": "the native run time itself",
    "guest_stores": "native stores; trapped ones are priced",
    "guest_touches": "native translations; missing sptes are priced as faults",
}
"""Counter that has no path of its own -> why."""


def model_yaml(measured: Measured, *, name: str, command: str) -> str:
    """Return the cost model of what was measured."""
    return render(
        "sweep.prices",
        "paths.yaml.j2",
        filters={"quoted": _quoted},
        name=name,
        summary=SUMMARY,
        command=command,
        files=[path.name for path in measured.files],
        prices=measured.prices,
        # With nested paging an exit is the same path; the faults of shadow paging do not happen.
        nested=[price for price in measured.prices if price.counter == "exits"],
        unpriced=unpriced(measured),
    )


def unpriced(measured: Measured) -> dict[str, str]:
    """Return counter -> why it has no price."""
    priced = {price.counter for price in measured.prices}
    measurable = {counter for counter, *_ in READERS}
    # What its own declaration says needs no second reason.
    declared = {counter.name for counter in COUNTERS if counter.unpriced}
    names = [counter.name for counter in COUNTERS if counter.name not in priced | declared]
    return {
        name: _IN_OTHERS.get(
            name, "no path of these recordings shows it alone" if name in measurable else "not measured"
        )
        for name in names
    }


def _quoted(text: str) -> str:
    """Return a text as a scalar of YAML, in which JSON's strings are ones."""
    return json.dumps(text, ensure_ascii=False)


def to_json(measured: Measured) -> dict[str, Any]:
    """Return everything that was measured as plain values."""
    return {
        "files": [str(path) for path in measured.files],
        "paths": [asdict(length) for length in measured.lengths],
        "fits": [asdict(one) for one in measured.fits],
        "totals": [asdict(one) for one in measured.totals],
        "prices": [asdict(price) for price in measured.prices],
    }


def text_lines(measured: Measured) -> Iterator[str]:
    """Yield what was measured for a terminal."""
    wide = max((len(one.path) for one in measured.lengths), default=0)
    yield f"{'path':{wide}}  {'recording':16}{'n':>9}{'p10':>11}{'median':>11}{'p90':>11}"
    for one in measured.lengths:
        numbers = "".join(f"{number:11,.0f}" for number in (one.p10, one.median, one.p90))
        yield f"{one.path:{wide}}  {one.recording:16}{one.n:9,}{numbers}"
    for fitted in measured.fits:
        yield ""
        yield (
            f"Least squares, {fitted.name}: {fitted.n:,} exits of {fitted.mean:,.0f} instructions, "
            f"mean error {fitted.mean_error:,.0f}"
        )
        yield from _coefficients(fitted.coefficients, fitted.errors)
    for totals in measured.totals:
        yield ""
        yield (
            f"Least squares, totals of {totals.folder}: {totals.n:,} policies and workloads, median error "
            f"{totals.median_error:.1%}, p95 {totals.p95_error:.1%}"
        )
        yield from _coefficients({name: value for name, value in totals.coefficients.items() if value > 0}, {})
    yield ""
    yield f"{'price of':20}{'instructions':>13}{'locked':>9}{'low':>9}{'high':>9}  cpi"
    for price in measured.prices:
        numbers = "".join(f"{number:9,}" for number in (price.locked, price.low, price.high))
        yield f"{price.counter:20}{price.instructions:13,}{numbers}  {price.cpi}"


def _coefficients(coefficients: Mapping[str, float], errors: Mapping[str, float]) -> Iterator[str]:
    for name, value in coefficients.items():
        error = f"  ± {errors[name]:,.0f}" if name in errors else ""
        yield f"  {name:20}{value:11,.0f}{error}"


def shown_command(folders: Sequence[str], out: str) -> str:
    """Return the command that makes a model again, whatever folder the recordings are in."""
    return f"sweep prices measure {' '.join(folders)} -o {out}"
