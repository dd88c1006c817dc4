"""Rule fidelity: fed with the guest's events of a nested recording, does the engine react as KVM did in it?"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.vocabulary import COUNTER_INDEX, COUNTER_NAMES, Event
from sweep.recordings.kvm.pieces import USER_END
from sweep.recordings.kvm.reading import KvmTruth, load_events
from sweep.validate.divergence import describe_first
from sweep.validate.reactions import KINDS, engine_reactions, kvm_reactions
from sweep.validate.recording_set import GUEST, RecordingSet, real_counts
from sweep.validate.replay import Counts, run_lanes, run_reference

EVENTS_APART_MAX: Final = 400
"""Events between the two of a pair: more than an interrupt handler touches, less than a fork does (assumption)."""

_KEY: Final = ("kind", "gfn", "level", "role")


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """Which reactions have a partner: `real[row]` and `ours[row]`, in the order of the two tables."""

    real: npt.NDArray[np.bool_]
    ours: npt.NDArray[np.bool_]


def align(real: pl.DataFrame, ours: pl.DataFrame, *, apart_max: int = EVENTS_APART_MAX) -> Alignment:
    """Pair the reactions of `real` and `ours`, each at most once.

    Reactions of one kind on one page are paired in order; a pair is good if its events are not far apart. Exact
    positions are not asked for: a recorder notes an access when it succeeds, which is after the reactions that made it
    succeed, and an interrupt in between may postpone it.
    """
    both = pl.concat([real.with_columns(side=pl.lit(0)), ours.with_columns(side=pl.lit(1))])
    both = both.with_columns(key=pl.struct(_KEY).rank("dense"), place=pl.int_range(pl.len()))
    both = both.sort("key", "event", "side", maintain_order=True)
    key, event, side = both["key"].to_list(), both["event"].to_list(), both["side"].to_list()
    matched = np.zeros(both.height, dtype=np.bool_)
    places = both["place"].to_numpy()
    waiting: tuple[list[int], list[int]] = ([], [])
    heads = [0, 0]
    current = None
    for row in range(both.height):
        if key[row] != current:
            current, waiting, heads = key[row], ([], []), [0, 0]
        here, there = side[row], 1 - side[row]
        queue = waiting[there]
        while heads[there] < len(queue) and event[row] - event[queue[heads[there]]] > apart_max:
            heads[there] += 1
        if heads[there] < len(queue):
            matched[places[queue[heads[there]]]] = matched[places[row]] = True
            heads[there] += 1
        else:
            waiting[here].append(row)
    return Alignment(real=matched[: real.height], ours=matched[real.height :])


RULE_COUNTERS: Final = (
    "pf_fixed", "pf_emulate", "mmu_pte_write", "mmu_flooded", "mmu_shadow_zapped", "mmu_cache_miss", "unsync_events",
)  # fmt: skip
"""The counters that must be within 1 % or 2 counts."""
OTHER_COUNTERS: Final = (
    "pf_taken", "pf_spurious", "pf_guest", "mmu_pde_zapped", "mmu_recycled", "invlpg", "tlb_flush", "remote_tlb_flush",
)  # fmt: skip
ONLY_KVM: Final = "only KVM"
UNMATCHED_MAX: Final = 500
"""Reactions without a partner that a report lists one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleReport:
    """How well the engine reproduced one nested recording."""

    file: str
    kinds: list[dict[str, Any]]
    counters: list[dict[str, Any]]
    unmatched: list[dict[str, Any]]
    first_divergence: str | None
    lanes_differ: list[dict[str, Any]]
    """Counters, of all that there are, in which the lanes differ from the reference on this recording."""

    def to_json(self) -> dict[str, Any]:
        """Return the report as the command prints it with --json."""
        real, missed = sum(k["real"] for k in self.kinds), sum(k["missed"] for k in self.kinds)
        ours, extra = sum(k["ours"] for k in self.kinds), sum(k["extra"] for k in self.kinds)
        return {
            "recall": _share(real - missed, real),
            "precision": _share(ours - extra, ours),
            "recall_min": min((k["recall"] for k in self.kinds), default=1.0),
            "precision_min": min((k["precision"] for k in self.kinds), default=1.0),
            "kinds": {k["kind"]: {name: k[name] for name in k if name != "kind"} for k in self.kinds},
            "counters": _nest(self.counters),
            "unmatched": self.unmatched,
            "first_divergence": self.first_divergence,
            "lanes_differ": self.lanes_differ,
        }


def check_rules(recordings: RecordingSet, path: Path) -> RuleReport:
    """Compare the engine with one nested recording."""
    variant = recordings.variant_of(path)
    truth = load_events(path)
    policy = recordings.variants[variant]
    run = run_reference(policy, GUEST, events=truth.events, markers=truth.markers)
    lanes = run_lanes([policy], GUEST, events=truth.events, markers=truth.markers)[0]
    real, ours = kvm_reactions(truth), engine_reactions(run.log)
    start, end = _span(truth)
    inside = (pl.col("event") >= start) & (pl.col("event") < end)
    real, ours = real.filter(inside), ours.filter(inside)
    paired = align(_on_clock(real, truth), _on_clock(ours, truth))
    real, ours = real.with_columns(paired=pl.Series(paired.real)), ours.with_columns(paired=pl.Series(paired.ours))
    unmatched = _unmatched(real, ours, truth)
    return RuleReport(
        file=path.name,
        kinds=_kinds(real, ours),
        counters=_counters(recordings, variant=variant, counts=run.counts, real=real, truth=truth),
        unmatched=unmatched.head(UNMATCHED_MAX).to_dicts(),
        first_divergence=describe_first(truth, real, ours),
        lanes_differ=list(_differences(run.counts, lanes)),
    )


def _differences(reference: Counts, lanes: Counts) -> Iterator[dict[str, Any]]:
    for workload, counts in reference.items():
        for name, expected, found in zip(COUNTER_NAMES, counts.tolist(), lanes[workload].tolist(), strict=True):
            if expected != found:
                yield {"workload": workload, "counter": name, "reference": expected, "lanes": found}


def _span(truth: KvmTruth) -> tuple[int, int]:
    """Return the events from the first marker to the last: the boot is fed, but not judged."""
    if not truth.markers:
        return 0, len(truth.events)
    return min(s for s, _ in truth.markers.values()), max(e for _, e in truth.markers.values())


def _on_clock(reactions: pl.DataFrame, truth: KvmTruth) -> pl.DataFrame:
    """Number events without those that only tell the contents of memory: they can be thousands at one instant."""
    told = np.isin(truth.events["kind"], (int(Event.CONTENT), int(Event.LINK)))
    clock = np.cumsum(np.append(~told, False))
    return reactions.with_columns(event=pl.Series(clock[reactions["event"].to_numpy()], dtype=pl.Int64))


def _kinds(real: pl.DataFrame, ours: pl.DataFrame) -> list[dict[str, Any]]:
    lost = (~pl.col("paired")).sum()
    left = real.group_by("kind").agg(real=pl.len(), missed=lost)
    right = ours.group_by("kind").agg(ours=pl.len(), extra=lost)
    table = left.join(right, on="kind", how="full", coalesce=True).fill_null(0)
    rows = {row["kind"]: row for row in table.to_dicts()}
    return [
        row
        | {"recall": _share(row["real"] - row["missed"], row["real"])}
        | {"precision": _share(row["ours"] - row["extra"], row["ours"])}
        for row in (rows[kind] for kind in KINDS if kind in rows)
    ]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def _unmatched(real: pl.DataFrame, ours: pl.DataFrame, truth: KvmTruth) -> pl.DataFrame:
    missed = real.filter(~pl.col("paired")).with_columns(side=pl.lit(ONLY_KVM))
    extra = ours.filter(~pl.col("paired")).with_columns(side=pl.lit("only the engine"))
    rows = pl.concat([missed, extra]).sort("event", "side").drop("paired")
    names = [_workload_of(truth, event) for event in rows["event"]]
    seq = truth.row[np.minimum(rows["event"].to_numpy(), len(truth.row) - 1)] if rows.height else []
    rows = rows.with_columns(workload=pl.Series(names, dtype=pl.String), row=pl.Series(seq, dtype=pl.Int64))
    return rows.with_columns(cause=pl.Series(_causes(rows, truth), dtype=pl.String))


def _causes(rows: pl.DataFrame, truth: KvmTruth) -> Iterator[str]:
    """Say of each reaction without a partner where it comes from, as far as the recording tells.

    KVM may serve a user's fault whose access an interrupt then postpones. The recording shows the kernel at work right
    after the fault, and the access much later, which is where the engine reacts.
    """
    postponed: dict[tuple[str, int, int], int] = {}
    served = {row["event"] for row in rows.to_dicts() if _is_postponed(row, truth)}
    for row in rows.to_dicts():
        key = (row["kind"], row["gfn"], row["level"])
        if row["side"] == ONLY_KVM and row["event"] in served:
            postponed[key] = row["event"]
            yield "an interrupt postponed the access after KVM had served it"
        elif row["side"] != ONLY_KVM and key in postponed:
            yield f"the access that was postponed at event {postponed.pop(key)}"
        else:
            yield "not known"


def _is_postponed(row: Mapping[str, Any], truth: KvmTruth) -> bool:
    if row["side"] != ONLY_KVM or row["kind"] != "fault_fixed" or row["gfn"] << 12 >= USER_END:
        return False
    following = truth.events[min(row["event"], len(truth.events) - 1)]
    return bool(following["kind"] == int(Event.TOUCH) and following["address"] >= USER_END)


def _workload_of(truth: KvmTruth, event: int) -> str:
    return next((name for name, (start, end) in truth.markers.items() if start <= event < end), "between workloads")


def _counters(
    recordings: RecordingSet, *, variant: str, counts: Counts, real: pl.DataFrame, truth: KvmTruth
) -> list[dict[str, Any]]:
    rows = []
    for workload, ours in counts.items():
        measured = real_counts(recordings.counters_traced, variant=variant, workload=workload)
        if measured is None:
            continue
        start, end = truth.markers[workload]
        unsynced = real.filter((pl.col("kind") == "unsync") & pl.col("event").is_between(start, end, closed="left"))
        expected = {**measured, "unsync_events": unsynced.height}
        rows += [
            counter_row(workload, name, predicted=int(ours[COUNTER_INDEX[name]]), real=expected[name])
            for name in (*RULE_COUNTERS, *OTHER_COUNTERS)
            if name in expected
        ]
    return rows


def counter_row(workload: str, name: str, *, predicted: int, real: int) -> dict[str, Any]:
    """Return one comparison; `error` is relative, None where nothing was counted."""
    error = abs(predicted - real) / real if real else None
    return {"workload": workload, "counter": name, "predicted": predicted, "real": real, "error": error}


def _nest(rows: list[dict[str, Any]]) -> Mapping[str, Any]:
    nested: dict[str, Any] = {}
    for row in rows:
        entry = nested.setdefault(row["counter"], {"predicted": 0, "real": 0, "error": 0.0, "workloads": {}})
        entry["predicted"] += row["predicted"]
        entry["real"] += row["real"]
        entry["workloads"][row["workload"]] = {"predicted": row["predicted"], "real": row["real"]}
    for entry in nested.values():
        gap = abs(entry["predicted"] - entry["real"])
        entry["error"] = gap / entry["real"] if entry["real"] else float(gap > 0)
    return nested
