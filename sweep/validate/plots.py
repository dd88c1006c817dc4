"""Draws predicted against real counters, and the residuals by policy and workload."""

from html import escape
from pathlib import Path
from typing import Any, Final

import polars as pl

from sweep.exit_codes import SweepError
from sweep.validate.report import Report, text_lines
from sweep.validate.transfer import TRANSFER_COUNTERS

_INSTALL: Final = "plots need the extra 'plots': pip install 'shadowsweep[plots]'"
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
    rows = [row for row in report.transfer.rows if row["judged"] and row["counter"] in TRANSFER_COUNTERS]
    return pl.DataFrame(rows).with_columns(
        residual=(pl.col("predicted") - pl.col("real")) / pl.col("real"),
        policy=pl.col("variant"),
    )


def predicted_against_real(rows: pl.DataFrame) -> str:
    """Return the SVG of predicted against real counts, log-log, one field per counter."""
    alt = _altair()
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
    alt = _altair()
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


def _altair() -> Any:
    try:
        import altair as alt
    except ImportError as error:
        raise SweepError(_INSTALL) from error
    return alt


def _svg(chart: Any) -> str:
    try:
        import vl_convert
    except ImportError as error:
        raise SweepError(_INSTALL) from error
    return str(vl_convert.vegalite_to_svg(chart.to_json()))
