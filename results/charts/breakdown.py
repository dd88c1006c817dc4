"""Where the time goes: native time, each group of costs, waiting for the lock; it adds up to the elapsed time."""

from typing import Final

import altair as alt
import polars as pl

from results.charts.frames import in_order, labels_of, only, rounded, without_the_dying
from results.charts.theme import Layout
from results.prices.cost_groups import NATIVE, OTHER, PARTS, WAITING
from results.prices.cost_model import CostModel
from results.prices.pricing import by_paging, concurrency, cycles_expression, price_windows
from results.ranked_run import RankedRun

_KEYS: Final = ("workload", "guest", "vcpus", "policy", "cell_id")


def breakdown(ranked: RankedRun, groups: pl.DataFrame) -> pl.DataFrame:
    """Return one row per workload, guest, policy and part of the time, in s: means over replicates.

    Where the host dies there is no number, and `word` says so.
    """
    model = ranked.costs
    windows = only(ranked.run.scan("windows"), groups)
    priced = price_windows(windows, model).select("cell_id", "window", "native_ns", "busy_ns", "lock_wait_ns")
    shares = {part: _cycles(model, counters) / model.cpu_ghz.value for part, counters in PARTS.items()}
    if unknown := _unknown(model):
        shares[OTHER] = _cycles(model, unknown) / model.cpu_ghz.value
    busy = concurrency(busy=pl.col("busy_ns"), span=pl.col("native_ns"))
    seconds = {
        NATIVE: pl.col("native_ns") / 1e9,
        **{part: share / busy / 1e9 for part, share in shares.items()},
        WAITING: pl.col("lock_wait_ns") / busy / 1e9,
    }
    rows = windows.join(priced, on=["cell_id", "window"], how="inner")
    cells = rows.group_by(_KEYS).agg(**{part: expression.sum() for part, expression in seconds.items()})
    means = cells.group_by(_KEYS[:-1]).agg(pl.col(list(seconds)).mean()).collect(engine="streaming")
    long = means.unpivot(on=list(seconds), index=_KEYS[:-1], variable_name="part", value_name="seconds")
    places = ranked.summary.select("workload", "guest", "policy", "label", "rank", "panel", "size", "elapsed_s")
    stacked = {part: index for index, part in enumerate(seconds)}
    joined = long.join(places, on=["workload", "guest", "policy"], how="inner")
    stacks = (
        joined.with_columns(stack=pl.col("part").replace_strict(stacked, return_dtype=pl.Int64))
        .with_columns(over_native=100.0 * pl.col("seconds") / _native().over("workload", "guest", "policy"))
        .sort("workload", "vcpus", "guest", "rank", "stack")
    )
    return without_the_dying(stacks, ranked.summary, "seconds", "over_native")


def stacked_time(rows: pl.DataFrame, layout: Layout, *, zoomed: bool) -> alt.FacetChart:
    """Return stacked bars per policy, one panel per guest: all of the elapsed time, or what is on top of native."""
    rows = rows.with_columns(place=pl.format("{}, {}", "panel", "size"))
    parts = in_order(rows.sort("stack", maintain_order=True), "part")
    places = in_order(rows, "place")
    drawn = rows.filter(pl.col("part") != NATIVE) if zoomed else rows
    shown = rounded(drawn, "label", "policy", "place", "part", "stack", "seconds", "over_native", "word")
    columns = layout.columns(min(2, len(places)))
    label = layout.text_px(24)
    width = (layout.width - label - 24 * columns) // columns
    value = "over_native" if zoomed else "seconds"
    title = "time on top of native, % of native" if zoomed else "elapsed time, s"
    color = alt.Color(
        "part:N",
        title=None,
        # The palest colour comes first in this range: it is native time's.
        scale=alt.Scale(domain=parts, range="ordinal"),
        legend=alt.Legend(
            orient="top",
            columns=1 if layout.narrow else 3,
            symbolType="square",
            labelLimit=240,
            symbolStrokeWidth=0.6,
            values=parts[1:] if zoomed else parts,
        ),
    )
    y = alt.Y("label:N", sort=labels_of(rows), title=None, axis=alt.Axis(labelLimit=label))
    bars = (
        alt.Chart(shown)
        .transform_filter("!isValid(datum.word)")
        .mark_bar(style="edge", height={"band": 0.78})
        .encode(
            y=y,
            x=alt.X(f"sum({value}):Q", title=title, axis=alt.Axis(labelOverlap="greedy", labelFlush=False)),
            color=color,
            order="stack:Q",
            tooltip=[
                "policy:N",
                "part:N",
                alt.Tooltip("seconds:Q", title="s", format=".2f"),
                alt.Tooltip("over_native:Q", title="% of native", format=".1f"),
            ],
        )
    )
    word = alt.Chart(shown).mark_text(style="ink", align="left", dx=4).encode(y=y, x=alt.datum(0.0), text="word:N")
    lowest = min(drawn["stack"].to_list(), default=0)
    first = f"isValid(datum.word) && datum.stack === {lowest}"
    words = [word.transform_filter(first)] if drawn["word"].is_not_null().any() else []
    panel = alt.layer(bars, *words).properties(width=width, height={"step": round(layout.font_px * 1.75)})
    facet = alt.Facet("place:N", title=None, sort=places)
    chart = panel.facet(facet=facet, columns=columns).resolve_scale(x="shared" if zoomed else "independent")
    # Panels below each other have an axis each, or one would have to scroll for the numbers.
    return chart.resolve_axis(x="independent") if layout.narrow else chart


def _native() -> pl.Expr:
    return pl.col("seconds").filter(pl.col("part") == NATIVE).first()


def _cycles(model: CostModel, counters: tuple[str, ...]) -> pl.Expr:
    return by_paging(lambda paging: cycles_expression([c for c in model.costs(paging) if c.counter in counters]))


def _unknown(model: CostModel) -> tuple[str, ...]:
    known = {counter for counters in PARTS.values() for counter in counters}
    return tuple(counter for counter in model.counters() if counter not in known)
