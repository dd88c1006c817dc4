"""Time: KVM's instructions for each policy and workload, as measured and as the engine's counters predict them.

A recording counts instructions of the whole machine with KVM; a direct recording of the same guest has none of KVM's.
The difference is what KVM took. The prices of kvm-6.1-paths were measured on single exits of other runs, so that totals
are a check: whether each event is priced once, and whether the counters hold what takes time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
import polars as pl

from engine.vocabulary import COUNTER_NAMES
from sweep.recordings.kvm.reading import load_events
from sweep.spec.costs import load_cost_model
from sweep.validate.recording_set import RecordingSet
from sweep.validate.retouch import fit_retouches, with_retouches
from sweep.validate.transfer import CounterTable, predict_counters

MODEL: Final = "kvm-6.1-paths"
OTHER_EXITS: Final[Mapping[str, int]] = {"io_exits": 2276, "irq_exits": 3412, "halt_exits": 3412}
"""Exits that have nothing to do with page tables -> instructions of the whole exit: medians of the recordings.

Of each, 171 are those that recordings of exits leave out. They are no prediction: KVM's own counters say how many there
were.
"""
UNNAMED_EXIT: Final = 3030
"""Instructions of an exit that KVM counts under no name: CPUID 2,978, a read of CR3 3,086."""
DIFFERENT: Final = 0.01
"""Policies whose times differ by less have no order: two runs of one policy differ by so much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeReport:
    """How near predicted totals are to measured ones."""

    rows: list[dict[str, Any]]
    """One per policy and workload: instructions of the guest alone, with KVM as measured, and as predicted."""
    pairs: int
    """Pairs of policies on one workload whose measured totals differ by more than 1 %."""
    signs_right: int
    size_error: float
    """Median of |predicted / measured difference - 1| over these pairs."""

    def to_json(self) -> dict[str, Any]:
        """Return the report as the command prints it with --json."""
        of_total = np.array([row["error_of_total"] for row in self.rows])
        of_kvm = np.array([row["error_of_kvm"] for row in self.rows])
        return {
            "model": MODEL,
            "rows": self.rows,
            "totals": {"median_error": float(np.median(of_total)), "p95_error": float(np.quantile(of_total, 0.95))},
            "kvm": {"median_error": float(np.median(of_kvm)), "p95_error": float(np.quantile(of_kvm, 0.95))},
            "pairs": self.pairs,
            "signs_right": self.signs_right / self.pairs if self.pairs else 1.0,
            "size_error": self.size_error,
        }


def kvm_instructions(recordings: RecordingSet) -> pl.DataFrame:
    """Return a row per policy and workload: `total`, `guest`, `kvm`, `other`, and the engine's counters.

    `total` is measured with KVM, `guest` without, `kvm` is the difference, `other` the part of exits that are none of
    the MMU's.
    """
    rows = []
    for path in recordings.direct:
        truth = load_events(path)
        fit = fit_retouches(truth)
        table = predict_counters(recordings, with_retouches(truth, pages=fit.pages, form=fit.form))
        rows += _rows(table, _guest_instructions(recordings, path.name))
    return pl.DataFrame(rows, infer_schema_length=None)


def _guest_instructions(recordings: RecordingSet, name: str) -> dict[str, int]:
    """Return workload -> instructions between its markers in a direct recording."""
    path = recordings.directory / "events" / name
    marks = (
        pl.scan_parquet(path)
        .select(pl.col("t").cast(pl.Int64), pl.col("workload", "kind").cast(pl.String))
        .filter(pl.col("kind").is_in(["marker_start", "marker_end"]))
        .collect(engine="streaming")
    )
    spans = marks.group_by("workload").agg(pl.col("t").max() - pl.col("t").min())
    return dict(spans.iter_rows())


def _rows(table: CounterTable, guest: Mapping[str, int]) -> list[dict[str, Any]]:
    rows = []
    for (variant, workload), (real, ours) in table.items():
        if "ns" not in real or workload not in guest:
            continue
        named = sum(real.get(name, 0) for name in OTHER_EXITS)
        unnamed = real["exits"] - real["pf_taken"] - real["invlpg"] - ours["cr3_loads"] - named
        other = sum(real.get(name, 0) * length for name, length in OTHER_EXITS.items())
        rows.append(
            {
                "variant": variant,
                "workload": workload,
                "total": real["ns"],
                "guest": guest[workload],
                "kvm": real["ns"] - guest[workload],
                "other": other + max(unnamed, 0) * UNNAMED_EXIT,
                **{name: ours[name] for name in COUNTER_NAMES},
            }
        )
    return rows


def check_times(recordings: RecordingSet) -> TimeReport | None:
    """Compare predicted with measured totals; None where the recordings have no totals."""
    if not recordings.direct or "ns" not in recordings.counters.columns:
        return None
    table = kvm_instructions(recordings)
    if table.is_empty():
        return None
    model = load_cost_model(MODEL)
    price = sum((pl.col(cost.counter) * cost.cycles for cost in model.shadow), pl.lit(0.0))
    found = table.select(
        "variant", "workload", "guest", measured="total", predicted=(pl.col("guest") + pl.col("other") + price).round()
    ).with_columns(
        error_of_total=(pl.col("predicted") / pl.col("measured") - 1.0).abs(),
        error_of_kvm=((pl.col("predicted") - pl.col("measured")) / (pl.col("measured") - pl.col("guest"))).abs(),
    )
    pairs, signs, sizes = _differences(found)
    return TimeReport(
        rows=found.sort("variant", "workload").to_dicts(),
        pairs=pairs,
        signs_right=signs,
        size_error=float(np.median(sizes)) if sizes else 0.0,
    )


def _differences(found: pl.DataFrame) -> tuple[int, int, list[float]]:
    """Return how many pairs of policies differ, in how many the sign is right, and the errors of their sizes."""
    signs, sizes = 0, []
    for _, rows in found.group_by("workload"):
        for one, other in combinations(rows.select("measured", "predicted").rows(), 2):
            measured, predicted = one[0] - other[0], one[1] - other[1]
            if abs(measured) > DIFFERENT * max(one[0], other[0]):
                signs += bool(np.sign(measured) == np.sign(predicted))
                sizes.append(abs(predicted / measured - 1.0))
    return len(sizes), signs, sizes
