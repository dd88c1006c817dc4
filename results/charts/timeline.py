"""The windows of a run over native guest time: when shadow paging hurts."""

import math
from typing import Final

import altair as alt
import polars as pl

from results.charts.frames import labels_of, only, rounded, without_the_dying
from results.charts.theme import Layout
from results.prices.pricing import price_windows
from results.ranked_run import RankedRun
from results.statistics.verdicts import relative_difference

BINS: Final = 240
"""Points of a timeline; more than a line of a page has room for are averaged."""

CLIPPED_SHARE: Final = 0.1
"""Share of the dearest policy's stretches that may be cut off at the top, so that the rest can be read."""


def timeline(ranked: RankedRun, groups: pl.DataFrame) -> pl.DataFrame:
    """Return per workload, guest, policy and stretch of native time how much longer it took, in %.

    Replicates are averaged window by window; neighbouring windows are put together until there are at most `BINS`.
    """
    windows = only(ranked.run.scan("windows"), groups)
    lengths = windows.group_by("workload", "guest").agg(_count=pl.col("window").max() + 1)
    priced = price_windows(windows, ranked.costs)
    binned = (
        priced.join(lengths, on=["workload", "guest"])
        .with_columns(_width=(pl.col("_count") + BINS - 1) // BINS)
        .with_columns(bin=pl.col("window") // pl.col("_width"))
        .group_by("workload", "guest", "vcpus", "policy", "bin")
        .agg(
            native_s=pl.col("native_ns").sum() / 1e9,
            elapsed_s=pl.col("elapsed_ns").sum() / 1e9,
            _seconds=(pl.col("_width") * pl.col("window_ns")).first() / 1e9,
        )
        .with_columns(
            start_s=pl.col("bin") * pl.col("_seconds"),
            end_s=(pl.col("bin") + 1) * pl.col("_seconds"),
            over_native=relative_difference("elapsed_s", "native_s"),
        )
        .collect(engine="streaming")
    )
    places = ranked.summary.select("workload", "guest", "policy", "label", "rank", "panel", "size")
    joined = binned.join(places, on=["workload", "guest", "policy"], how="inner")
    rows = joined.drop("_seconds").sort("workload", "vcpus", "guest", "rank", "bin")
    return without_the_dying(rows, ranked.summary, "elapsed_s", "over_native")


def strips(rows: pl.DataFrame, layout: Layout) -> alt.FacetChart:
    """Return one strip per policy: time on top of native over native guest time; peaks that are cut off are written."""
    labels = labels_of(rows)
    label = layout.text_px(24)
    height = round(layout.font_px * 2.4)
    ends = rows.group_by("label", maintain_order=True).last().with_columns(start_s=pl.col("end_s"))
    # A step ends where the next begins, so the last one needs an end of its own.
    shown = rounded(pl.concat([rows, ends.select(rows.columns)]), "label", "policy", "start_s", "over_native", "word")
    usual = shown.group_by("label").agg(pl.col("over_native").quantile(1.0 - CLIPPED_SHARE))["over_native"].max()
    top = max(float(usual) if isinstance(usual, int | float) else 0.0, 1.0) * 1.15
    times = alt.Axis(grid=False, tickCount=5 if layout.narrow else 10, labelFlush=False)
    percent, small = "datum.value + ' %'", layout.font_px * 0.8
    area = (
        alt.Chart()
        .mark_area(interpolate="step-after", clip=True)
        .encode(
            x=alt.X("start_s:Q", title="native guest time, s", scale=alt.Scale(nice=False), axis=times),
            y=alt.Y(
                "over_native:Q",
                title=None,
                scale=alt.Scale(domain=[0, top], nice=False),
                axis=alt.Axis(values=[0, _round_below(top)], tickCount=2, labelExpr=percent, labelFontSize=small),
            ),
            tooltip=[
                "policy:N",
                alt.Tooltip("start_s:Q", title="from, s", format=".1f"),
                alt.Tooltip("over_native:Q", title="on top of native, %", format=".1f"),
            ],
        )
    )
    shown = _with_peaks(shown, top)
    words = [
        alt.Chart()
        .mark_text(style=style, align="left", baseline="top", dx=4, dy=2, fontSize=small)
        .encode(x="start_s:Q", y=alt.value(0), text="peak:N")
        .transform_filter("isValid(datum.peak)")
        for style in ("halo", "ink")
        if shown["peak"].is_not_null().any()
    ]
    panel = alt.layer(area, *words).properties(width=layout.width - label - 60, height=height)
    header = alt.Header(labelAngle=0, labelAlign="left", labelFontWeight="normal", labelLimit=label, labelPadding=4)
    return panel.facet(data=shown, row=alt.Row("label:N", sort=labels, title=None, header=header), spacing=4)


def _with_peaks(shown: pl.DataFrame, top: float) -> pl.DataFrame:
    """Return the points with `peak`: per strip that is cut off how high it goes, where it first comes down after that.

    There the ground is free; a strip that never comes down has it at its peak.
    """
    value = pl.col("over_native")
    rank = value.rank("ordinal", descending=True).over("label")
    peak_s = pl.col("start_s").filter(rank == 1).first().over("label")
    free = pl.col("start_s").filter((pl.col("start_s") > peak_s) & (value <= top)).min().over("label")
    text = pl.format("↑ {} %", value.max().over("label").round(0).cast(pl.Int64))
    is_place = pl.col("start_s") == pl.coalesce(free, peak_s)
    return shown.with_columns(
        peak=pl.when((value.max().over("label") > top) & is_place & pl.col("start_s").is_first_distinct().over("label"))
        .then(text)
        .when(pl.col("label").is_first_distinct())
        .then("word")
    )


def _round_below(value: float) -> float:
    """Return the largest of 1, 2, 5, 10, 20 … that is at most 0.9 of `value`, so that its label has room."""
    power = 10.0 ** math.floor(math.log10(0.9 * value))
    return max(step * power for step in (1, 2, 5) if step * power <= 0.9 * value)
