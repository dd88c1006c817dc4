"""What a policy costs in time, exits and memory at once."""

import math
from typing import Final

import altair as alt
import polars as pl

from results.charts.frames import in_order, only, rounded
from results.charts.theme import Layout
from results.compare.pareto import beaten_by
from results.ranked_run import YARDSTICK, RankedRun, is_dying
from results.render import enumerated

_GOALS: Final = ("elapsed_s", "exits", "pages_peak")
FRONT: Final = "none is better in all three"
BEATEN: Final = "another one is at least as good in all three"
NEAR: Final = 0.06
"""Points nearer than this share of both axes carry one label: letters on letters say nothing."""
NARROW_LINE: Final = 0.1
"""Share of the height that a line of letters takes on a phone."""


def trade_off(ranked: RankedRun, groups: pl.DataFrame) -> pl.DataFrame:
    """Return mean elapsed time, exits and peak of shadow pages per policy, and how it stands: on the front or beaten.

    Yardsticks are left out: nobody can install them. So is what the host dies under.
    """
    peaks = (
        only(ranked.run.scan("cells"), groups)
        .group_by("workload", "guest", "policy")
        .agg(pages_peak=pl.col("pages_peak").mean())
        .collect(engine="streaming")
    )
    rows = ranked.summary.filter(pl.col("role") != YARDSTICK, ~is_dying()).join(
        peaks, on=["workload", "guest", "policy"], how="inner", maintain_order="left"
    )
    beaten = beaten_by(rows, _GOALS, ("workload", "guest"), name="policy").is_not_null()
    return rows.with_columns(standing=pl.when(beaten).then(pl.lit(BEATEN)).otherwise(pl.lit(FRONT)))


def trade_off_chart(rows: pl.DataFrame, layout: Layout) -> alt.FacetChart:
    """Return one panel per guest: exits against elapsed time, the size of a point is its memory."""
    rows = rows.with_columns(place=pl.format("{}, {}", "panel", "size"), millions=pl.col("exits") / 1e6)
    rows = pl.concat([_named(panel, layout) for _, panel in rows.group_by("place", maintain_order=True)])
    places = in_order(rows, "place")
    columns = layout.columns(min(2, len(places)))
    width = (layout.width - 64 * columns) // columns
    few = alt.Axis(tickCount=5, labelFlush=False)
    shown = rounded(
        rows, "policy", "place", "standing", "names", "names_s", "names_m", "align", "room", "millions", *_GOALS
    )
    base = alt.Chart(shown).encode(
        x=alt.X("millions:Q", title="exits, millions", scale=alt.Scale(zero=False, padding=14), axis=few),
        y=alt.Y("elapsed_s:Q", title="elapsed time, s", scale=alt.Scale(zero=False, nice=False, padding=14)),
        tooltip=[
            "policy:N",
            alt.Tooltip("elapsed_s:Q", title="elapsed, s", format=".2f"),
            alt.Tooltip("exits:Q", format=",.0f"),
            alt.Tooltip("pages_peak:Q", title="shadow pages at most", format=",.0f"),
        ],
    )
    vertical = {"orient": "top", "direction": "vertical", "labelLimit": layout.width}
    key = {"title": None, "scale": alt.Scale(domain=[FRONT, BEATEN]), "legend": alt.Legend(**vertical)}
    sizes = alt.Legend(orient="bottom" if layout.narrow else "top", titleOrient="left", tickCount=3)
    points = base.mark_point(opacity=0.9, strokeWidth=1.8).encode(
        shape=alt.Shape("standing:N", **key),
        color=alt.Color("standing:N", **key),
        size=alt.Size("pages_peak:Q", title="shadow pages at most", legend=sizes, scale=alt.Scale(range=[20, 300])),
    )
    words = base.mark_text(
        style="ink",
        align=alt.expr("datum.align"),
        dx=alt.expr("datum.align == 'left' ? 11 : -11"),
        # The panel's padding of 14 and the distance to the point are no room for letters.
        limit=alt.expr(f"datum.room * {width - 28} - 4"),
    )
    words = words.encode(text="names:N", x="names_m:Q", y="names_s:Q").transform_filter("isValid(datum.names)")
    panel = alt.layer(points, words).properties(width=width, height=round(width * 0.7))
    facet = alt.Facet("place:N", title=None, sort=places)
    return panel.facet(facet=facet, columns=columns, spacing=24).resolve_scale(y="independent")


def _named(panel: pl.DataFrame, layout: Layout) -> pl.DataFrame:
    """Return the points of a panel with `names` and where they stand.

    Those of a cluster stand beside its best point, on the freer side, lifted where they would meet those below.
    """
    most, line = (2, NARROW_LINE) if layout.narrow else (3, NEAR)
    x, y = (_share(panel[name]) for name in ("millions", "elapsed_s"))
    clusters: list[list[int]] = []
    for row in range(panel.height):
        near = (c for c in clusters if abs(x[c[0]] - x[row]) < NEAR and abs(y[c[0]] - y[row]) < NEAR)
        cluster = next(near, None)
        if cluster is None:
            clusters.append([row])
        else:
            cluster.append(row)
    policies, standing = panel["policy"].to_list(), panel["standing"].to_list()
    words: list[str | None] = [None] * panel.height
    for cluster in clusters:
        front_first = sorted(cluster, key=lambda row: standing[row] != FRONT)
        words[cluster[0]] = enumerated([policies[row] for row in front_first], most=most)
    values, lifted = panel["elapsed_s"].to_list(), -math.inf
    gap = line * ((max(values) - min(values)) or 1.0)
    heights: list[float] = [*values]
    for cluster in sorted(clusters, key=lambda cluster: values[cluster[0]]):
        lifted = heights[cluster[0]] = max(values[cluster[0]], lifted + gap)
    side = ["left" if share < 0.5 else "right" for share in x]
    millions = panel["millions"].to_list()
    starts: list[float] = [*millions]
    for cluster in clusters:
        outermost = max if side[cluster[0]] == "left" else min
        starts[cluster[0]] = outermost(millions[row] for row in cluster)
    return panel.with_columns(
        names=pl.Series(words, dtype=pl.String),
        names_s=pl.Series(heights, dtype=pl.Float64),
        names_m=pl.Series(starts, dtype=pl.Float64),
        align=pl.Series(side, dtype=pl.String),
        room=pl.Series([max(share, 1.0 - share) for share in x], dtype=pl.Float64),
    )


def _share(values: pl.Series) -> list[float]:
    low, span = values.min(), (values.max() - values.min()) or 1.0  # type: ignore[operator]
    return ((values - low) / span).to_list()
