"""Puts all checks into one report: JSON for programs, text for a terminal."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

from sweep.validate.guest_census import check_guest
from sweep.validate.recording_set import GUEST, RecordingSet
from sweep.validate.rules import RuleReport, check_rules
from sweep.validate.times import TimeReport, check_times
from sweep.validate.transfer import TransferReport, check_transfer


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What `sweep validate` found in one directory."""

    rules: list[RuleReport] = field(default_factory=list)
    transfer: TransferReport | None = None
    times: TimeReport | None = None
    guest_model: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Direct recording -> census of its known programs, recorded and modelled."""

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON."""
        return {
            "rules": {report.file: report.to_json() for report in self.rules},
            "transfer": self.transfer.to_json() if self.transfer else None,
            "times": self.times.to_json() if self.times else None,
            "guest_model": self.guest_model,
        }


def validate(recordings: RecordingSet, *, workers: int, say: Callable[[str], None]) -> Report:
    """Run all checks on a directory.

    Raises:
        TraceError: the directory or a file in it has another layout.
    """
    recordings.check()
    say(f"rules: {', '.join(path.name for path in recordings.nested) or 'no nested recording'}")
    say(f"transfer and guest model: {', '.join(path.name for path in recordings.direct) or 'no direct recording'}")
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        largest_first = sorted(recordings.nested, key=lambda path: -path.stat().st_size)
        running = {path: pool.submit(check_rules, recordings, path) for path in largest_first}
        transfer = pool.submit(check_transfer, recordings)
        times = pool.submit(check_times, recordings)
        guests = {path.name: pool.submit(check_guest, path, GUEST) for path in recordings.direct}
        return Report(
            rules=[running[path].result() for path in recordings.nested],
            transfer=transfer.result(),
            times=times.result(),
            guest_model={name: task.result() for name, task in guests.items()},
        )


def text_lines(report: Report) -> Iterator[str]:
    """Yield the report for a terminal."""
    for rules in report.rules:
        found = rules.to_json()
        yield f"Rules, {rules.file}: recall {found['recall']:.4%}, precision {found['precision']:.4%}"
        yield f"  {'kind':20}{'real':>9}{'missed':>8}{'ours':>9}{'extra':>8}"
        for kind in rules.kinds:
            yield f"  {kind['kind']:20}{kind['real']:9}{kind['missed']:8}{kind['ours']:9}{kind['extra']:8}"
        yield f"  {'counter':20}{'real':>9}{'predicted':>11}{'error':>9}"
        for name, counter in found["counters"].items():
            yield f"  {name:20}{counter['real']:9}{counter['predicted']:11}{counter['error']:9.3%}"
        yield f"  counters in which the lanes differ from the reference: {len(rules.lanes_differ)}"
        if rules.first_divergence:
            yield "  first divergence: " + rules.first_divergence.splitlines()[0]
        yield ""
    for file, found in report.guest_model.items():
        for name, rows in found["programs"].items():
            close = sum(row["close"] for row in rows)
            yield f"Guest model, {file}, {name}: {close} of {len(rows)} figures as recorded (within 5 % or 2 counts)"
        if found["skipped"]:
            yield f"Guest model, {file}: no list of operations for {', '.join(found['skipped'])}"
    if report.times is not None:
        yield from _time_lines(report.times)
    if report.transfer is None:
        yield "Transfer: no direct recording with counters of the same workloads"
        return
    found = report.transfer.to_json()
    yield (
        f"Transfer: median error {found['median_error']:.2%}, p95 {found['p95_error']:.2%}, "
        f"{found['ranked_same']:.1%} of {found['ranked_pairs']} policy pairs in the real order"
    )
    yield f"  {'counter':20}{'rows':>6}{'exact':>7}{'median':>9}{'p95':>9}{'worst':>9}"
    for name, counter in found["per_counter"].items():
        if counter["rows"]:
            figures = "".join(f"{counter[key]:9.2%}" for key in ("median_error", "p95_error", "worst_error"))
            yield f"  {name:20}{counter['rows']:6}{counter['exact']:7}{figures}  {counter['worst']}"


def _time_lines(times: TimeReport) -> Iterator[str]:
    """Yield how near predicted instructions are to measured ones."""
    found = times.to_json()
    totals, kvm = found["totals"], found["kvm"]
    yield (
        f"Time, prices of {found['model']}: totals with the guest's own instructions, median error "
        f"{totals['median_error']:.2%}, p95 {totals['p95_error']:.2%}; KVM's part alone {kvm['median_error']:.2%}, "
        f"{kvm['p95_error']:.2%}"
    )
    yield (
        f"  policies that differ by more than 1 %: {found['signs_right']:.1%} of {found['pairs']} pairs in the real "
        f"order, size of the difference off by {found['size_error']:.1%} (median)"
    )
