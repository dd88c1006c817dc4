"""Transfer: fed with a recording of a guest without hypervisor, does the engine predict what KVM counted elsewhere?"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np

from engine.vocabulary import COUNTER_INDEX
from sweep.recordings.kvm.reading import KvmTruth, load_events
from sweep.validate.recording_set import GUEST, WHOLE, RecordingSet, real_counts
from sweep.validate.replay import run_lanes
from sweep.validate.retouch import Form, RetouchFit, fit_retouches, with_retouches
from sweep.validate.rules import counter_row

TRANSFER_COUNTERS: Final = (
    "pf_fixed", "pf_emulate", "pf_guest", "mmu_pte_write", "mmu_flooded", "mmu_shadow_zapped", "mmu_cache_miss",
    "invlpg", "tlb_flush",
)  # fmt: skip
"""The counters whose errors the headline sums up."""
SHOWN_COUNTERS: Final = (*TRANSFER_COUNTERS, "pf_taken", "pf_spurious", "mmu_pde_zapped", "mmu_recycled")
REAL_MIN: Final = 50
"""Real counts below which a relative error says nothing."""
RANKED_BY: Final = ("exits", "mmu_pte_write", "mmu_shadow_zapped")
SPREAD: Final = 0.01
"""Two runs of one policy differ by so much (the recordings' README, section 8): closer policies have no order."""
SPREAD_COUNTS: Final = 2
"""Difference in counts that is no order either."""
NOT_MODELLED_EXITS: Final = ("io_exits", "halt_exits", "irq_exits")

CounterTable = dict[tuple[str, str], tuple[Mapping[str, int], Mapping[str, int]]]
"""(Variant, workload) -> real and predicted counters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferReport:
    """Predicted and real counters of every (policy, workload)."""

    rows: list[dict[str, Any]]
    ranked_same: float
    ranked_pairs: int
    retouches: dict[str, dict[str, Any]]
    """Direct recording -> what it says about pages that processes use again."""
    forms: dict[str, dict[str, Any]]
    """Form of the re-touches -> the headline with that form, for those who doubt the chosen one."""

    def to_json(self) -> dict[str, Any]:
        """Return the report as the command prints it with --json."""
        summary = _summary(judged(self.rows))
        return {
            **{name: summary[name] for name in ("median_error", "p95_error", "worst_error", "exact")},
            "ranked_same": self.ranked_same,
            "ranked_pairs": self.ranked_pairs,
            "retouches": self.retouches,
            "forms": self.forms,
            "per_counter": {
                name: _summary([row for row in self.rows if row["judged"] and row["counter"] == name])
                for name in SHOWN_COUNTERS
            },
            "rows": self.rows,
        }


def check_transfer(recordings: RecordingSet) -> TransferReport | None:
    """Predict the counters of every policy and workload from the direct recordings; None if there is none."""
    rows: dict[Form | None, list[dict[str, Any]]] = {None: [], **{form: [] for form in Form}}
    ranks: dict[Form | None, tuple[int, int]] = dict.fromkeys(rows, (0, 0))
    fits: dict[str, RetouchFit] = {}
    for path in recordings.direct:
        truth = load_events(path)
        fit = fits[path.name] = fit_retouches(truth)
        for form in Form:
            table = predict_counters(recordings, with_retouches(truth, pages=fit.pages, form=form))
            same, pairs = _ranks(table)
            for key in (form, None) if form is fit.form else (form,):
                ranks[key] = ranks[key][0] + same, ranks[key][1] + pairs
                rows[key] += [row for where, sides in table.items() for row in _rows(path.name, *where, sides=sides)]
    if not rows[None]:
        return None
    shares = {form: same / pairs if pairs else 1.0 for form, (same, pairs) in ranks.items()}
    return TransferReport(
        rows=rows[None],
        ranked_same=shares[None],
        ranked_pairs=ranks[None][1],
        retouches={file: asdict(fit) for file, fit in fits.items()},
        forms={form.value: _headline(rows[form]) | {"ranked_same": shares[form]} for form in Form},
    )


def judged(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the comparisons that the headline sums up."""
    return [row for row in rows if row["judged"] and row["counter"] in TRANSFER_COUNTERS]


def _headline(rows: list[dict[str, Any]]) -> dict[str, Any]:
    chosen = judged(rows)
    fixed = _summary([row for row in chosen if row["counter"] == "pf_fixed"])
    kept = {name: value for name, value in _summary(chosen).items() if name.endswith("_error")}
    return kept | {"pf_fixed_p95_error": fixed["p95_error"]}


def predict_counters(recordings: RecordingSet, truth: KvmTruth) -> CounterTable:
    """Return real and predicted counters of each (variant, workload) that was measured."""
    measured = set(recordings.counters["variant"])
    variants = {name: policy for name, policy in recordings.variants.items() if name in measured}
    counts = run_lanes(list(variants.values()), GUEST, events=truth.events, markers=truth.markers)
    table: CounterTable = {}
    for variant, by_workload in zip(variants, counts, strict=True):
        for workload, ours in by_workload.items():
            real = real_counts(recordings.counters, variant=variant, workload=workload)
            if real is not None and workload != WHOLE:
                table[variant, workload] = real, {name: int(ours[i]) for name, i in COUNTER_INDEX.items()}
    return table


def _rows(
    file: str, variant: str, workload: str, *, sides: tuple[Mapping[str, int], Mapping[str, int]]
) -> Iterable[dict[str, Any]]:
    real, ours = sides
    for name in SHOWN_COUNTERS:
        if name in real:
            row = counter_row(workload, name, predicted=ours[name], real=real[name])
            yield {"file": file, "variant": variant, **row, "judged": real[name] >= REAL_MIN}


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    errors = np.array([row["error"] for row in rows if row["error"] is not None])
    if not errors.size:
        return {"rows": 0, "median_error": 0.0, "p95_error": 0.0, "worst_error": 0.0, "exact": 0}
    worst = max(rows, key=lambda row: row["error"] or 0.0)
    return {
        "rows": int(errors.size),
        "median_error": float(np.median(errors)),
        "p95_error": float(np.quantile(errors, 0.95)),
        "worst_error": float(errors.max()),
        "worst": f"{worst['variant']}, {worst['workload']}: {worst['predicted']} for {worst['real']}",
        "exact": int((errors == 0).sum()),
    }


def _ranked_value(counts: Mapping[str, int], name: str) -> int:
    """Return a counter; of exits only those of the MMU, as far as KVM's counters tell them from the others."""
    if name != "exits":
        return counts[name]
    return counts["exits"] - sum(counts.get(name, 0) for name in NOT_MODELLED_EXITS)


def _ranks(table: CounterTable) -> tuple[int, int]:
    """Count the policy pairs that the prediction puts in the real order, and all that have one."""
    same = pairs = 0
    variants = list(dict.fromkeys(variant for variant, _ in table))
    for workload in sorted({workload for _, workload in table}):
        present = [variant for variant in variants if (variant, workload) in table]
        for first, second in combinations(present, 2):
            for name in RANKED_BY:
                real, ours = (
                    [_ranked_value(table[variant, workload][side], name) for variant in (first, second)]
                    for side in (0, 1)
                )
                if abs(real[0] - real[1]) <= max(SPREAD_COUNTS, SPREAD * max(real)):
                    continue
                pairs += 1
                same += np.sign(real[0] - real[1]) == np.sign(ours[0] - ours[1])
    return int(same), pairs
