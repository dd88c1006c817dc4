"""Changes of elapsed time with their intervals: the whole answer as dots and bars, and as a map of numbers."""

import math
from typing import Any, Final

import altair as alt
import polars as pl

from results.charts.frames import in_order, labels_of, rounded
from results.charts.theme import Layout
from results.ranked_run import BASELINE
from results.statistics.verdicts import Verdict

TICKS_PERCENT: Final = (-80, -50, -20, -10, -5, -2, 0, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
LINEAR_PERCENT: Final = 3
"""Up to about this change scales are linear, beyond it logarithmic: bounds are far off, what is in question is near."""
ROW_EM: Final = 1.75
"""Height of a row in letters."""
CELL_TEXT_EM: Final = 3.0
"""Width in letters under which a number does not fit into a cell of the map."""
DEEP: Final = 0.66
"""Shade of the middle colours of the range, at which dark and light letters change places."""
LABEL_CHARACTERS: Final = 24
SURE: Final = f"(datum.verdict === '{Verdict.BETTER}' || datum.verdict === '{Verdict.WORSE}')"
"""Vega's word for a difference that surely counts."""
DYING: Final = f"datum.verdict === '{Verdict.DIES}'"
"""Vega's word for that there is no number, because the host dies."""
SIGNED: Final = "datum.value === 0 ? '0' : format(datum.value, '+~g')"
"""Vega's word for the number at a tick."""
_TOLD: Final[dict[str, dict[str, str]]] = {
    "policy:N": {},
    "guest:N": {},
    "difference_percent:Q": {"title": "change, %", "format": "+.2f"},
    "difference_low:Q": {"title": "from", "format": "+.2f"},
    "difference_high:Q": {"title": "to", "format": "+.2f"},
    "verdict:N": {},
    "elapsed_s:Q": {"title": "elapsed, s", "format": ".2f"},
}
TOOLTIP: Final = tuple(alt.Tooltip(field, **options) for field, options in _TOLD.items())
TOOLTIP_COLUMNS: Final = tuple(field.partition(":")[0] for field in _TOLD)


def symlog(change: float) -> float:
    """Return the place of a change on its scale: linear near zero, logarithmic further off."""
    return math.copysign(math.log1p(abs(change) / LINEAR_PERCENT), change)


def symlog_scale(**options: Any) -> alt.Scale:
    """Return the scale of changes."""
    return alt.Scale(type="symlog", constant=LINEAR_PERCENT, padding=8, **options)


def change_axis(rows: pl.DataFrame, room: float, **options: Any) -> alt.Axis:
    """Return the axis of changes: zero, and as many ticks to both sides as `room`, in labels, has place for."""
    bounds = [rows[name].drop_nulls() for name in ("difference_percent", "difference_low", "difference_high")]
    found = pl.concat(bounds).to_list() or [0.0]
    ticks = spaced_ticks(min(0.0, *found), max(0.0, *found), room)
    # Without a count of its own Vega would thin out the values by the size of the panel.
    return alt.Axis(values=ticks, tickCount=len(ticks), labelExpr=SIGNED, labelOverlap=False, **options)


def spaced_ticks(low: float, high: float, room: float) -> list[int]:
    """Return ticks between `low` and `high` that keep a distance of 1/`room` of the axis, counted from zero.

    >>> spaced_ticks(-36.0, 97.0, 6)
    [-10, 0, 10, 50]
    """
    gap = max((symlog(high) - symlog(low)) / room, 1e-9)
    kept = [0]
    for sign in (1, -1):
        last = 0.0
        for tick in sorted((tick for tick in TICKS_PERCENT if tick * sign > 0), key=abs):
            place = symlog(abs(tick))
            if low * 1.05 <= tick <= high * 1.05 and place - last >= gap:
                kept.append(tick)
                last = place
    return sorted(kept)


def changes(summary: pl.DataFrame, layout: Layout, baseline: str) -> alt.FacetChart:
    """Return one panel per number of vCPUs: a dot and its 95 % interval per policy and size of guest."""
    rows = summary.filter(pl.col("role") != BASELINE)
    sizes = in_order(rows.sort("memory_mib", maintain_order=True), "size")
    panels = in_order(rows, "panel")
    columns = layout.columns(min(2, len(panels)))
    label = layout.text_px(LABEL_CHARACTERS)
    width = (layout.width - label - 20 * columns) // columns
    # As many rows as policies, each as high as its dots beside each other need.
    height = round(layout.font_px * max(ROW_EM, 0.62 * len(sizes)) * rows["label"].n_unique())
    y = alt.Y("label:N", sort=labels_of(rows), title=None, axis=alt.Axis(labelLimit=label))
    shift = alt.YOffset("size:N", sort=sizes)
    said = series_encodings(layout, "size", "guest memory", sizes)
    title = f"change of elapsed time against {baseline}, %"
    base = alt.Chart(rounded(rows, "label", "panel", "size", *TOOLTIP_COLUMNS))
    x = alt.X(
        "difference_percent:Q", title=title, scale=symlog_scale(), axis=change_axis(rows, width / layout.text_px(6))
    )
    dots = base.mark_point(filled=True, size=34, opacity=1).encode(
        x=x, y=y, yOffset=shift, color=said["color"], shape=said["shape"], tooltip=list(TOOLTIP)
    )
    bars = base.mark_rule(strokeWidth=1.4).encode(
        x=alt.X("difference_low:Q"), x2="difference_high:Q", y=y, yOffset=shift, stroke=said["stroke"]
    )
    zero = base.mark_rule(strokeDash=[3, 3], style="guide").encode(x=alt.datum(0.0))
    words = dying_words(rows, base.encode(x=alt.datum(0.0), y=y, yOffset=shift))
    panel = alt.layer(zero, bars, dots, *words).properties(width=width, height=height)
    return panel.facet(facet=alt.Facet("panel:N", title=None, sort=panels), columns=columns)


def dying_words(rows: pl.DataFrame, base: alt.Chart) -> list[alt.Chart]:
    """Return the layer that says where the host dies, in the places of `base`; none if it does nowhere."""
    if not (rows["verdict"] == Verdict.DIES).any():
        return []
    return [base.mark_text(style="ink", baseline="middle").encode(text="verdict:N").transform_filter(DYING)]


def heat_map(summary: pl.DataFrame, layout: Layout, baseline: str) -> alt.FacetChart:
    """Return policies × guests: number and colour of the change in each cell, bold where it surely counts."""
    top = _deepest(summary)
    change = pl.col("difference_percent")
    rows = summary.with_columns(
        shade=change.sign() * (change.abs() / LINEAR_PERCENT).log1p() / symlog(top),
        text=pl.struct("difference_percent", "verdict").map_elements(_cell_text, return_dtype=pl.String),
    )
    panels, sizes = in_order(rows, "panel"), in_order(rows.sort("memory_mib", maintain_order=True), "size")
    columns = layout.columns(len(panels))
    label = layout.text_px(LABEL_CHARACTERS)
    cell = max((layout.width - label - 14 * columns) // (columns * len(sizes)), 3)
    row = round(layout.font_px * ROW_EM)
    y = alt.Y("label:N", sort=labels_of(rows), title=None, axis=alt.Axis(labelLimit=label, ticks=False, domain=False))
    vertical = -90 if cell < layout.text_px(max(len(size) for size in sizes)) else 0
    x = alt.X("size:N", sort=sizes, title=None, axis=alt.Axis(labelAngle=vertical, ticks=False, domain=False))
    title = f"change against {baseline}, %" if layout.narrow else f"change of elapsed time against {baseline}, %"
    room = layout.width - label - 20
    legend = alt.Legend(
        title=title,
        orient="bottom",
        gradientLength=min(420, room),
        gradientThickness=10,
        titleLimit=room,
        values=[_shade(tick, top) for tick in TICKS_PERCENT if abs(tick) <= top and abs(tick) not in {2, 80}],
        labelExpr=_shade_label(top),
        labelOverlap="greedy",
    )
    color = alt.Color(
        "shade:Q", scale=alt.Scale(domain=[-1, -DEEP, 0, DEEP, 1], range="diverging", interpolate="rgb"), legend=legend
    )
    shown = rounded(rows, "label", "panel", "size", "shade", "text", *TOOLTIP_COLUMNS)
    base = alt.Chart(shown).encode(x=x, y=y, tooltip=list(TOOLTIP))
    cells = base.mark_rect(style="seam").encode(color=color).transform_filter("isValid(datum.shade)")
    layers: list[alt.Chart] = [cells, *dying_words(rows, base)]
    if cell >= CELL_TEXT_EM * layout.font_px * 0.56 * 2:
        deep = f"abs(datum.shade) > {DEEP}"
        for style, test in (("number", f"!({deep})"), ("strong", deep)):
            for weight, sure in (("bold", SURE), ("normal", f"!{SURE}")):
                words = base.mark_text(style=style, fontWeight=weight).encode(text="text:N")
                layers.append(words.transform_filter(f"{test} && {sure} && !({DYING})"))
    panel = alt.layer(*layers).properties(width=cell * len(sizes), height=row * rows["label"].n_unique())
    facet = alt.Facet("panel:N", title=None, sort=panels)
    return panel.facet(facet=facet, columns=columns, spacing=14)


def series_encodings(layout: Layout, column: str, title: str, series: list[Any]) -> dict[str, Any]:
    """Return colour, shape and stroke of what `column` says, with one legend, or none for a single series.

    All channels need the same explicit domain and legend, or Vega-Lite draws one for each, or none.
    """
    legend = alt.Legend(orient="top", titleOrient="top" if layout.narrow else "left") if len(series) > 1 else None
    key = {"title": title, "scale": alt.Scale(domain=series), "legend": legend}
    channels = {"color": alt.Color, "shape": alt.Shape, "stroke": alt.Stroke}
    return {name: channel(f"{column}:N", **key) for name, channel in channels.items()}


def _deepest(summary: pl.DataFrame) -> float:
    found = summary["difference_percent"].abs().max()
    return max(float(found) if isinstance(found, int | float) else 0.0, 1.0)


def _shade(change: float, top: float) -> float:
    return symlog(change) / symlog(top)


def _shade_label(top: float) -> str:
    """Return the Vega expression that turns a shade back into the change that it stands for."""
    change = f"{LINEAR_PERCENT} * (pow({1 + top / LINEAR_PERCENT}, abs(datum.value)) - 1)"
    return f"datum.value === 0 ? '0' : format((datum.value < 0 ? -1 : 1) * {change}, '+.0f')"


def _cell_text(row: dict[str, Any]) -> str:
    change = row["difference_percent"]
    if change is None:
        return "–"
    if change == 0:
        return "0"
    text = f"{change:+.1f}" if abs(change) < 99.95 else f"{change:+.0f}"
    text = {"+0.0": "0.0", "-0.0": "0.0"}.get(text, text.replace("-", "−"))
    return f"~{text}" if row["verdict"] == Verdict.OPEN else text
