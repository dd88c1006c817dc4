"""Writes docs/explanation/validation.md: what was compared, how well it agrees, and what is not modelled."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from sweep.validate.page_guest import guest_lines, retouch_lines
from sweep.validate.plots import judged_rows, predicted_against_real, residuals
from sweep.validate.report import Report
from sweep.validate.transfer import REAL_MIN, SPREAD, SPREAD_COUNTS, TRANSFER_COUNTERS

_WORST_SHOWN: Final = 12
_UNMATCHED_SHOWN: Final = 50

_INTRODUCTION: Final = """# Validation against a real KVM

A simulator of policies is worth what can be checked. This page compares the engine with a real KVM 6.1 with shadow
paging, whose policies were made switchable, running on an emulated CPU with a recorder attached. It is written by
`sweep validate DIR --markdown docs/explanation/validation.md`; nothing in it is typed by hand.

Two questions are asked. **Rules**: fed with what the guest did in a recording under KVM, does the engine react as
KVM did in the very same recording, event by event? **Transfer**: fed with a recording of the same guest without any
hypervisor, does it predict what KVM counted in other runs, policy by policy?
"""

_NOT_MODELLED: Final = """## What is not modelled, and how large it is

* **Exits for I/O, interrupts and halts.** They are left out of the comparison of exits, and are no part of the
  model.
* **The boot.** It is fed, so that the state at the first workload is right, but not judged: early boot runs without
  paging.
* **Accesses that no recorder saw.** Without a hypervisor a page's first access after a re-arm is recorded, no later
  one. A policy that zaps level-1 shadow pages (`flood_level1`) makes later accesses fault as well. The re-touches
  above stand for them, and guess most of them wrong. What is left is the largest error above: faults of such policies
  in programs with a large working set.
* **Exception delivery** (the CPU's own accesses to descriptor tables and stacks) is recorded under KVM only.
* **Scheduling.** A slower hypervisor moves timer ticks, so that workloads of several processes take slightly other
  paths; repeated runs of the same policy differ by up to 1.5 % for the same reason.
"""


def write_markdown(report: Report, path: Path) -> None:
    """Write the page and, beside it, its pictures."""
    lines = [_INTRODUCTION]
    lines += _rules(report)
    if report.transfer is not None:
        rows = judged_rows(report)
        for name, svg in (("predicted", predicted_against_real(rows)), ("residuals", residuals(rows))):
            picture = path.with_name(f"{path.stem}-{name}.svg")
            picture.write_text(svg, encoding="utf-8")
        lines += _transfer(report.transfer.to_json(), path)
        lines += retouch_lines(report.transfer.to_json())
    for file, census in report.guest_model.items():
        lines += guest_lines(file, census)
    lines.append(_NOT_MODELLED)
    path.write_text("\n".join(lines), encoding="utf-8")


def _rules(report: Report) -> Iterator[str]:
    yield "## Rules: the same stream\n"
    yield "| recording | reactions of KVM | found | of ours right | worst kind found | worst kind right |"
    yield "|---|--:|--:|--:|--:|--:|"
    for rules in report.rules:
        found = rules.to_json()
        total = sum(kind["real"] for kind in rules.kinds)
        shares = (found[name] for name in ("recall", "precision", "recall_min", "precision_min"))
        yield f"| {rules.file} | {total:,} | " + " | ".join(f"{share:.3%}" for share in shares) + " |"
    yield ""
    differ = sum(len(rules.lanes_differ) for rules in report.rules)
    yield (
        f"Found and right: share of KVM's reactions that the engine shows as well, share of the engine's that KVM "
        "shows as well; the same of the worst kind. The engine is the reference here; fed with the same recordings, "
        f"the lanes differ from it in {differ} counters, of all counters of all workloads.\n"
    )
    for rules in report.rules:
        yield from _counters(rules.file, rules.to_json())


def _counters(file: str, found: dict[str, Any]) -> Iterator[str]:
    yield f"### {file}\n"
    yield "| kind of reaction | KVM | missed | ours | extra |"
    yield "|---|--:|--:|--:|--:|"
    for kind, figures in found["kinds"].items():
        yield f"| {kind} | {figures['real']:,} | {figures['missed']} | {figures['ours']:,} | {figures['extra']} |"
    yield "\n| counter, all workloads | KVM | engine | difference | where |"
    yield "|---|--:|--:|--:|---|"
    for name, counter in found["counters"].items():
        gap = counter["predicted"] - counter["real"]
        pairs = counter["workloads"].items()
        where = ", ".join(f"{at} {n['predicted'] - n['real']:+d}" for at, n in pairs if n["predicted"] != n["real"])
        yield f"| {name} | {counter['real']:,} | {counter['predicted']:,} | {gap:+d} | {where} |"
    if found["unmatched"]:
        yield "\n| event | row | workload | reaction | gfn | level | who | cause |"
        yield "|--:|--:|---|---|---|--:|---|---|"
        for row in found["unmatched"][:_UNMATCHED_SHOWN]:
            place = f"| {row['event']} | {row['row']} | {row['workload']} "
            yield f"{place}| {row['kind']} | {row['gfn']:#x} | {row['level']} | {row['side']} | {row['cause']} |"
    yield ""


def _transfer(found: dict[str, Any], path: Path) -> Iterator[str]:
    yield "## Transfer: other runs\n"
    yield (
        f"Over all policies and workloads with at least {REAL_MIN} real counts: median error "
        f"**{found['median_error']:.2%}**, 95th percentile **{found['p95_error']:.2%}**, worst "
        f"{found['worst_error']:.1%}; {found['exact']} predictions are exact. Of {found['ranked_pairs']} pairs of "
        f"policies that differ, **{found['ranked_same']:.1%}** are predicted in the right order (by exits, trapped "
        "stores and zaps). Pairs whose real counts are closer than "
        f"{SPREAD:.0%} or {SPREAD_COUNTS} counts are left out: two runs of one policy differ by as much.\n"
    )
    yield "| counter | comparisons | exact | median | p95 | worst | where |"
    yield "|---|--:|--:|--:|--:|--:|---|"
    for name, counter in found["per_counter"].items():
        if counter["rows"]:
            errors = " | ".join(f"{counter[key]:.2%}" for key in ("median_error", "p95_error", "worst_error"))
            yield f"| {name} | {counter['rows']} | {counter['exact']} | {errors} | {counter['worst']} |"
    yield f"\n![Predicted against real counts, log-log]({path.stem}-predicted.svg)"
    yield f"\n![Worst residual by policy and workload]({path.stem}-residuals.svg)\n"
    yield "The largest errors of the counters that are judged:\n"
    yield "| policy | workload | counter | predicted | real | error |"
    yield "|---|---|---|--:|--:|--:|"
    judged = [row for row in found["rows"] if row["judged"] and row["counter"] in TRANSFER_COUNTERS]
    for row in sorted(judged, key=lambda row: -row["error"])[:_WORST_SHOWN]:
        counts = f"{row['predicted']:,} | {row['real']:,} | {row['error']:.1%}"
        yield f"| {row['variant']} | {row['workload']} | {row['counter']} | {counts} |"
    yield ""
