"""Curves: how the change depends on the size of the guest, and on a knob that the sweep varies."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import altair as alt
import polars as pl

from results.charts.change import (
    SIGNED,
    TOOLTIP,
    TOOLTIP_COLUMNS,
    change_axis,
    dying_words,
    series_encodings,
    symlog_scale,
)
from results.charts.frames import in_order, labels_of, rounded
from results.charts.theme import Layout
from results.ranked_run import BASELINE, RankedRun
from results.statistics.verdicts import Verdict

PANELS_MAX: Final = 24
"""Policies that get a panel, best and worst; a page of more says nothing at a glance."""
_LABEL_CHARACTERS: Final = 5
"""Of a label of the axis, sign and all: +1000."""
_TICK_PX: Final = 7
"""Tick of an axis and the room beside it: Vega's 5 and 2 px."""
_SPACING_PX: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """What a curve runs over, and what tells its lines apart."""

    name: str
    x: str
    title: str
    series: str
    series_title: str


OVER: Final[dict[str, Axis]] = {
    "vcpus": Axis(name="vcpus", x="vcpus", title="vCPUs of the guest", series="size", series_title="guest memory"),
    "memory": Axis(name="memory", x="size", title="memory of the guest", series="panel", series_title="guest"),
}
"""Name -> axis of the guest's size."""


def size_curves(summary: pl.DataFrame, layout: Layout, over: str) -> alt.FacetChart:
    """Return one panel per policy: its change with 95 % intervals over vCPUs or memory of the guest."""
    rows = size_rows(summary)
    # What a size does to one policy is in question here; bounds beside it would press it flat.
    return _panels(rows, layout, OVER[over], panel="label", panels=labels_of(rows), own_scales=True)


def size_rows(summary: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of the policies that get a panel."""
    rows = summary.filter((pl.col("role") != BASELINE) & ~pl.col("policy").is_in(without_effect(summary)))
    kept = pl.Series(_outermost(labels_of(rows), PANELS_MAX))
    return rows.filter(pl.col("label").is_in(kept.implode()))


def without_effect(summary: pl.DataFrame) -> list[str]:
    """Return the policies that make no difference on any guest, unless they are all: their lines would be flat."""
    same = (pl.col("verdict") == Verdict.SAME).all()
    found = summary.filter(pl.col("role") != BASELINE).group_by("policy", maintain_order=True).agg(same=same)
    return found.filter("same")["policy"].to_list() if not found["same"].all() else []


def has_curve(summary: pl.DataFrame, over: str) -> bool:
    """Tell whether the run has at least two points on that axis."""
    return summary["vcpus" if over == "vcpus" else "memory_mib"].n_unique() > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class KnobFamily:
    """Policies that differ in the value of one knob and in nothing else."""

    knob: str
    values: dict[str, float]
    """Policy -> value."""

    @property
    def title(self) -> str:
        """Name the family by what its policies share."""
        return f"{self.knob} of {min(self.values, key=len).split(' ')[0]}"


def knob_families(ranked: RankedRun) -> Iterator[KnobFamily]:
    """Yield the families in which a number takes two or more values, knob by knob."""
    known = {policy: knobs for policy, knobs in ranked.run.knobs.items() if knobs}
    for knob in next(iter(known.values()), {}):
        families: dict[str, dict[str, float]] = {}
        for policy, knobs in known.items():
            value = knobs[knob]
            if isinstance(value, int | float) and not isinstance(value, bool):
                rest = repr(sorted((key, v) for key, v in knobs.items() if key != knob))
                families.setdefault(rest, {})[policy] = value
        for values in families.values():
            if len(set(values.values())) > 1:
                yield KnobFamily(knob=knob, values=dict(sorted(values.items(), key=lambda pair: pair[1])))


def knob_curve(summary: pl.DataFrame, layout: Layout, family: KnobFamily) -> alt.FacetChart:
    """Return one panel per number of vCPUs: the change with its interval over the values of a knob."""
    policies = list(family.values)
    rows = summary.filter(pl.col("policy").is_in(policies)).with_columns(
        value=pl.col("policy").replace_strict(family.values, return_dtype=pl.Float64, default=None)
    )
    rows = rows.sort("value", maintain_order=True)
    axis = Axis(name="knob", x="value", title=family.knob, series="size", series_title="guest memory")
    panels = in_order(rows.sort("vcpus", maintain_order=True), "panel")
    return _panels(rows, layout, axis, panel="panel", panels=panels, own_scales=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Room:
    """Panels side by side, and the size of one."""

    columns: int
    width: int
    height: int
    title: int
    """What the name of a panel may take."""


def _room(layout: Layout, panels: int, *, axis_each: bool) -> _Room:
    """Return the room of so many panels, each with an axis of changes or only the first one of a row."""
    most = 2 if layout.narrow else 4
    # No column more than the rows need: below an empty place an axis would stand alone.
    columns = math.ceil(panels / math.ceil(panels / most))
    axis = layout.text_px(_LABEL_CHARACTERS) + _TICK_PX + (0 if layout.narrow else round(1.6 * layout.font_px))
    axes = axis * (columns if axis_each else 1)
    width = (layout.width - axes - _SPACING_PX * (columns - 1)) // columns
    title = width + (axis if axis_each else 0) + _SPACING_PX - 4
    return _Room(columns=columns, width=width, height=round(width * 0.72), title=title)


def _change(rows: pl.DataFrame, layout: Layout, room: _Room, *, own_scales: bool) -> alt.Y:
    """Return how panels show changes: each on a linear scale of its own, or all on one, to be compared with another."""
    title = None if layout.narrow else "change, %"
    # How many labels stand above each other in a panel.
    labels = room.height / (1.6 * layout.font_px)
    if not own_scales:
        axis = change_axis(rows, labels, titlePadding=4)
        return alt.Y("difference_percent:Q", title=title, scale=symlog_scale(), axis=axis)
    ticks = round(labels / 1.5)
    # Panels stand below each other, so the labels of all take the same room.
    extent = layout.text_px(_LABEL_CHARACTERS)
    axis = alt.Axis(tickCount=ticks, labelExpr=SIGNED, titlePadding=4, minExtent=extent, maxExtent=extent)
    return alt.Y("difference_percent:Q", title=title, scale=alt.Scale(zero=True, nice=ticks), axis=axis)


def _panels(
    rows: pl.DataFrame, layout: Layout, axis: Axis, *, panel: str, panels: list[Any], own_scales: bool
) -> alt.FacetChart:
    room = _room(layout, len(panels), axis_each=own_scales)
    points = (
        rows[axis.x].unique().to_list() if axis.x == "value" else in_order(rows.sort("vcpus", "memory_mib"), axis.x)
    )
    x = alt.X(f"{axis.x}:O", sort=sorted(points) if axis.x == "value" else points, title=axis.title)
    x.axis = alt.Axis(labelAngle=0, labelOverlap="greedy", grid=False)
    series = in_order(rows.sort("vcpus", "memory_mib"), axis.series)
    said = series_encodings(layout, axis.series, axis.series_title, series)
    # Lines keep clear of each other where their values agree.
    shift = alt.XOffset(f"{axis.series}:N", sort=series)
    y = _change(rows, layout, room, own_scales=own_scales)
    base = alt.Chart(rounded(rows, *dict.fromkeys((panel, axis.x, axis.series, *TOOLTIP_COLUMNS))))
    zero = base.mark_rule(strokeDash=[3, 3], style="guide").encode(y=alt.datum(0.0))
    place = base.encode(x=x, xOffset=shift)
    bars = place.mark_rule(strokeWidth=1.6).encode(
        y=alt.Y("difference_low:Q"), y2="difference_high:Q", stroke=said["stroke"]
    )
    lines = place.mark_line(strokeWidth=1.2, opacity=0.7).encode(y=y, stroke=said["stroke"])
    dots = place.mark_point(filled=True, size=30, opacity=1).encode(
        y=y, color=said["color"], shape=said["shape"], tooltip=list(TOOLTIP)
    )
    # One replicate has no interval, and Vega complains about a scale without an extent.
    layers = [zero, lines, dots] if rows["difference_low"].is_null().all() else [zero, bars, lines, dots]
    layers += dying_words(rows, place.encode(y=alt.datum(0.0)))
    chart = alt.layer(*layers).properties(width=room.width, height=room.height)
    header = alt.Header(labelLimit=room.title, labelFontSize=layout.font_px * 0.85)
    facet = alt.Facet(f"{panel}:N", title=None, sort=panels, header=header)
    return chart.facet(facet=facet, columns=room.columns, spacing=_SPACING_PX).resolve_scale(
        y="independent" if own_scales else "shared"
    )


def _outermost(values: list[str], most: int) -> list[str]:
    if len(values) <= most:
        return values
    return [*values[: most // 2], *values[-(most - most // 2) :]]
