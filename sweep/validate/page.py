"""Writes how well the engine agrees with a real KVM, and what is not modelled: as HTML, and as Markdown."""

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any, Final

import altair as alt
import polars as pl

from results.charts.export import chart_bytes
from sweep.validate.guest_census import CLOSE, COUNTS_MAX
from sweep.validate.report import Report, text_lines
from sweep.validate.transfer import REAL_MIN, SPREAD, SPREAD_COUNTS, TRANSFER_COUNTERS, judged

_SIDE: Final = 210


def write_html(report: Report, path: Path) -> None:
    """Write the report with its plots as one page that needs nothing else."""
    parts = ["<!doctype html><meta charset='utf-8'><title>Validation against a real KVM</title>"]
    parts.append("<style>body{font:15px/1.5 system-ui;max-width:75em;margin:2em auto;padding:0 1em}</style>")
    parts.append("<h1>Validation against a real KVM</h1>")
    if report.transfer is not None:
        rows = judged_rows(report)
        parts += [predicted_against_real(rows), residuals(rows)]
    parts.append("<pre>" + escape("\n".join(text_lines(report))) + "</pre>")
    for rules in report.rules:
        if rules.first_divergence:
            parts.append(
                f"<h2>First divergence in {escape(rules.file)}</h2><pre>{escape(rules.first_divergence)}</pre>"
            )
    path.write_text("\n".join(parts), encoding="utf-8")


def judged_rows(report: Report) -> pl.DataFrame:
    """Return the comparisons that the headline sums up."""
    assert report.transfer is not None
    return pl.DataFrame(judged(report.transfer.rows)).with_columns(
        residual=(pl.col("predicted") - pl.col("real")) / pl.col("real"),
        policy=pl.col("variant"),
    )


def predicted_against_real(rows: pl.DataFrame) -> str:
    """Return the SVG of predicted against real counts, log-log, one field per counter."""
    scale = alt.Scale(type="log", nice=False)
    points = (
        alt.Chart(alt.Data(values=rows.filter(pl.col("predicted") > 0).to_dicts()), width=_SIDE, height=_SIDE)
        .mark_circle(opacity=0.6, size=22)
        .encode(
            x=alt.X("real:Q", scale=scale, title="real KVM"),
            y=alt.Y("predicted:Q", scale=scale, title="predicted"),
            color=alt.Color("policy:N", title="policy"),
        )
        .facet(facet=alt.Facet("counter:N", title=None, sort=list(TRANSFER_COUNTERS)), columns=3)
        .resolve_scale(x="independent", y="independent")
        .properties(title="Counters: predicted from a recording without hypervisor against a real KVM")
    )
    return _svg(points)


def residuals(rows: pl.DataFrame) -> str:
    """Return the SVG of the worst residual of each policy and workload."""
    worst = rows.sort(pl.col("residual").abs(), descending=True).group_by("policy", "workload").first()
    chart = (
        alt.Chart(alt.Data(values=worst.to_dicts()))
        .mark_rect()
        .encode(
            x=alt.X("workload:N", title=None),
            y=alt.Y("policy:N", title=None),
            color=alt.Color(
                "residual:Q",
                title="(predicted − real) / real",
                scale=alt.Scale(scheme="redblue", domain=[-0.2, 0.2], clamp=True, reverse=True),
                legend=alt.Legend(format="+.0%"),
            ),
        )
        .properties(title="Worst residual of any counter")
    )
    return _svg(chart)


def _svg(chart: alt.TopLevelMixin) -> str:
    return chart_bytes(chart.to_dict(), "svg").decode()


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
    for row in sorted(judged(found["rows"]), key=lambda row: -row["error"])[:_WORST_SHOWN]:
        counts = f"{row['predicted']:,} | {row['real']:,} | {row['error']:.1%}"
        yield f"| {row['variant']} | {row['workload']} | {row['counter']} | {counts} |"
    yield ""


def retouch_lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield what is assumed about pages that processes use again, how good the guess is, and what it changes."""
    yield "## Pages used again\n"
    yield (
        "A recording without hypervisor shows the first access of a page after it was re-armed, and no later one. If a "
        "policy zaps a shadow page meanwhile, the process's next accesses fault in reality, and the recording is "
        "silent. We add accesses after each page fault of the guest. Their number, and which of two forms of *used "
        "last* names the pages better, are taken from the same recording, where it can see them: between a CR3 load, "
        "which re-arms everything, and the next page fault.\n"
    )
    for file, fit in found["retouches"].items():
        yield (
            f"{file}: **{fit['pages']} pages**, the mean of {fit['intervals']} intervals (median {fit['median']:.1f}, "
            f"mean absolute error {fit['mean_error']:.1f} pages), in the form *{fit['form']}*. How well each form "
            "names the pages of an interval:\n"
        )
        yield "| form | of the guessed pages, used | of the used pages, guessed |"
        yield "|---|--:|--:|"
        for form, (precision, recall) in fit["guessed"].items():
            yield f"| {form} | {precision:.0%} | {recall:.0%} |"
        yield ""
    yield (
        "That is a poor guess. How much hangs on it: the same comparison with no such accesses, and with each form.\n"
    )
    yield "| form | median | p95 | worst | p95 of pf_fixed | policy pairs in order |"
    yield "|---|--:|--:|--:|--:|--:|"
    for form, row in found["forms"].items():
        errors = (row[key] for key in ("median_error", "p95_error", "worst_error", "pf_fixed_p95_error", "ranked_same"))
        yield f"| {form} | " + " | ".join(f"{error:.2%}" for error in errors) + " |"
    yield (
        "\nThe second form was thought of after the first had been compared with these very counters, so this table "
        "is no independent evidence for it; the recording's own preference is, and it is slight. The headline hardly "
        "depends on it. Recordings that nobody has looked at yet are the test.\n"
    )


def guest_lines(file: str, census: dict[str, Any]) -> Iterator[str]:
    """Yield the census of the known programs of a recording."""
    rows = [row for rows in census["programs"].values() for row in rows]
    live = [row for row in rows if row["what"].startswith("live")]
    yield f"## The guest model: {file}\n"
    yield (
        "The programs of the recording, written as process operations and run on the guest model, against what the "
        "recorded guest stored. A class of stores is level, instruction and width in bytes; a `rep` counts once; "
        "*dead* are stores to pages that are no table any more, up to the clear for their next use. *Rest* is the time "
        "in guest page faults, from the death of a table to that clear. Reasons are given where the difference exceeds "
        f"{CLOSE:.0%} and {COUNTS_MAX} counts.\n"
    )
    yield (
        f"Stores to live tables: **{sum(row['close'] for row in live)} of {len(live)}** classes agree; of all figures "
        f"{sum(row['close'] for row in rows)} of {len(rows)}.\n"
    )
    if census["skipped"]:
        yield f"Not compared, for want of a list of their operations: {', '.join(census['skipped'])}.\n"
    for name, figures in census["programs"].items():
        yield f"### {name}\n"
        yield "| figure | recorded | modelled | difference | why |"
        yield "|---|--:|--:|--:|---|"
        for row in figures:
            gap = row["modelled"] - row["recorded"]
            counts = f"{row['recorded']:,.0f} | {row['modelled']:,.0f} | {gap:+,.0f}"
            yield f"| {row['what']} | {counts} | {row['why']} |"
        yield ""
