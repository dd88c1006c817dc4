"""Curves: how the change depends on the size of the guest, and on a knob that the sweep varies."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import altair as alt
import polars as pl

from results.charts.change import SIGNED, TOOLTIP, TOOLTIP_COLUMNS, change_axis, series_legend, symlog_scale
from results.charts.frames import BASELINE, RunFrames, in_order, labels_of, rounded
from results.charts.theme import Layout
from results.verdicts import Verdict

PANELS_MAX: Final = 24
"""Policies that get a panel, best and worst; a page of more says nothing at a glance."""
_NUMBERS_PX: Final = 62
"""Width of the numbers and the title of an axis."""


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
    axis = OVER[over]
    rows = summary.filter((pl.col("role") != BASELINE) & ~pl.col("policy").is_in(without_effect(summary)))
    kept = pl.Series(_outermost(labels_of(rows), PANELS_MAX))
    rows = rows.filter(pl.col("label").is_in(kept.implode()))
    # What a size does to one policy is in question here; bounds beside it would press it flat.
    return _panels(rows, layout, axis, panel="label", panels=labels_of(rows), shared=False)


def without_effect(summary: pl.DataFrame) -> list[str]:
    """Return the policies that surely differ from the baseline nowhere, unless that are all of them: flat lines."""
    sure = pl.col("verdict").is_in([Verdict.BETTER, Verdict.WORSE]).any()
    found = summary.filter(pl.col("role") != BASELINE).group_by("policy", maintain_order=True).agg(sure=sure)
    return found.filter(~pl.col("sure"))["policy"].to_list() if found["sure"].any() else []


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


def knob_families(frames: RunFrames) -> Iterator[KnobFamily]:
    """Yield the families in which a number takes two or more values, knob by knob."""
    known = {policy: knobs for policy, knobs in frames.knobs.items() if knobs}
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
    return _panels(rows, layout, axis, panel="panel", panels=panels, shared=True)


def _panels(
    rows: pl.DataFrame,
    layout: Layout,
    axis: Axis,
    *,
    panel: str,
    panels: list[Any],
    shared: bool,
) -> alt.FacetChart:
    """Draw panels on one symlog scale, or on linear ones of their own."""
    columns = min(len(panels), 2 if layout.narrow else 4)
    # Numbers of a shared axis stand in front of the first panel of each row only.
    numbers = _NUMBERS_PX if shared else columns * _NUMBERS_PX
    width = (layout.width - numbers - 16 * columns) // columns
    height = round(width * 0.72)
    points = (
        rows[axis.x].unique().to_list() if axis.x == "value" else in_order(rows.sort("vcpus", "memory_mib"), axis.x)
    )
    x = alt.X(f"{axis.x}:O", sort=sorted(points) if axis.x == "value" else points, title=axis.title)
    x.axis = alt.Axis(labelAngle=0, labelOverlap="greedy", grid=False)
    series = in_order(rows.sort("vcpus", "memory_mib"), axis.series)
    key = {"title": axis.series_title, "scale": alt.Scale(domain=series), "legend": series_legend(layout, series)}
    color, shape = alt.Color(f"{axis.series}:N", **key), alt.Shape(f"{axis.series}:N", **key)
    # Lines keep clear of each other where their values agree.
    shift = alt.XOffset(f"{axis.series}:N", sort=series)
    room = height / (1.6 * layout.font_px)
    y = alt.Y(
        "difference_percent:Q",
        title=None if layout.narrow else "change, %",
        scale=symlog_scale() if shared else alt.Scale(zero=True, nice=True),
        axis=change_axis(rows, room, titlePadding=4)
        if shared
        else alt.Axis(tickCount=round(room / 1.5), labelExpr=SIGNED, titlePadding=4, minExtent=layout.text_px(4)),
    )
    base = alt.Chart(rounded(rows, *dict.fromkeys((panel, axis.x, axis.series, *TOOLTIP_COLUMNS))))
    zero = base.mark_rule(strokeDash=[3, 3], style="guide").encode(y=alt.datum(0.0))
    stroke = alt.Stroke(f"{axis.series}:N", **key)
    place = base.encode(x=x, xOffset=shift)
    bars = place.mark_rule(strokeWidth=1.6).encode(y=alt.Y("difference_low:Q"), y2="difference_high:Q", stroke=stroke)
    lines = place.mark_line(strokeWidth=1.2, opacity=0.7).encode(y=y, stroke=stroke)
    dots = place.mark_point(filled=True, size=30, opacity=1).encode(
        y=y, color=color, shape=shape, tooltip=list(TOOLTIP)
    )
    chart = alt.layer(zero, bars, lines, dots).properties(width=width, height=height)
    header = alt.Header(labelLimit=width + 12, labelFontSize=layout.font_px * (0.85 if layout.narrow else 0.95))
    facet = alt.Facet(f"{panel}:N", title=None, sort=panels, header=header)
    panelled = chart.facet(facet=facet, columns=columns, spacing=16)
    return panelled if shared else panelled.resolve_scale(y="independent")


def _outermost(values: list[str], most: int) -> list[str]:
    if len(values) <= most:
        return values
    return [*values[: most // 2], *values[-(most - most // 2) :]]
