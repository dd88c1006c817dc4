"""Writes how well the engine agrees with a real KVM, and what is not modelled: as HTML, and as Markdown."""

from html import escape
from pathlib import Path
from typing import Any, Final

import altair as alt
import polars as pl

from results.charts.export import chart_bytes
from sweep.rendering import render
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


def write_markdown(report: Report, path: Path) -> None:
    """Write the page and, beside it, its pictures."""
    found = report.to_json()
    worst: list[dict[str, Any]] = []
    if report.transfer is not None:
        rows = judged_rows(report)
        for name, svg in (("predicted", predicted_against_real(rows)), ("residuals", residuals(rows))):
            path.with_name(f"{path.stem}-{name}.svg").write_text(svg, encoding="utf-8")
        worst = sorted(judged(report.transfer.rows), key=lambda row: -row["error"])[:_WORST_SHOWN]
    page = render(
        "sweep.validate",
        "validation.md.j2",
        rules=found["rules"],
        transfer=found["transfer"],
        times=found["times"],
        guest_model={file: _with_rows(census) for file, census in found["guest_model"].items()},
        worst=worst,
        stem=path.stem,
        unmatched_shown=_UNMATCHED_SHOWN,
        real_min=REAL_MIN,
        spread=SPREAD,
        spread_counts=SPREAD_COUNTS,
        close=CLOSE,
        counts_max=COUNTS_MAX,
    )
    path.write_text(page, encoding="utf-8")


def _with_rows(census: dict[str, Any]) -> dict[str, Any]:
    """Add the rows of all programs, and those of live tables."""
    rows = [row for program in census["programs"].values() for row in program]
    return census | {"rows": rows, "live": [row for row in rows if row["what"].startswith("live")]}
