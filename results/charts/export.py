"""Charts as Vega-Lite, and as SVG, PNG, PDF and HTML files, without a browser and without a network."""

import json
from collections.abc import Callable
from typing import Any, Final

import altair as alt

from results.charts.theme import LIGHT, PAPER_FONT, Layout, chart_config

FORMATS: Final = ("svg", "png", "pdf", "html", "json")
PNG_SCALE: Final = 3
"""Pixels per CSS pixel: 288 dpi, what printers ask for."""


def vega_lite(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """Return a chart as Vega-Lite, its data included, however many rows there are."""
    with alt.data_transformers.enable("default", max_rows=None, consolidate_datasets=True):
        spec: dict[str, Any] = chart.to_dict()
    return {key: value for key, value in spec.items() if key != "config"}


def paper_spec(chart: alt.TopLevelMixin, layout: Layout) -> dict[str, Any]:
    """Return a chart as Vega-Lite with the look for paper: black on white."""
    config = chart_config(LIGHT, layout.font_px, PAPER_FONT)
    return {**vega_lite(chart), "config": {**config, "background": LIGHT.background}}


def chart_bytes(spec: dict[str, Any], form: str) -> bytes:
    """Return a chart as `form`, one of FORMATS; the same chart gives the same bytes.

    Raises:
        ValueError: no such format.
    """
    import vl_convert

    draw: dict[str, Callable[[], str | bytes]] = {
        "svg": lambda: vl_convert.vegalite_to_svg(spec),
        "png": lambda: vl_convert.vegalite_to_png(spec, scale=PNG_SCALE),
        "pdf": lambda: vl_convert.vegalite_to_pdf(spec),
        "html": lambda: vl_convert.vegalite_to_html(spec, bundle=True, renderer="svg"),
        "json": lambda: json.dumps(spec, indent=1, sort_keys=True) + "\n",
    }
    if form not in draw:
        raise ValueError(f"format '{form}' is not one of {', '.join(FORMATS)}")
    drawn = draw[form]()
    return drawn.encode() if isinstance(drawn, str) else drawn
