"""Charts as Vega-Lite, and as SVG, PNG, PDF and HTML files, without a browser and without a network."""

import json
from pathlib import Path
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


def save_chart(spec: dict[str, Any], path: Path) -> None:
    """Write a chart in the format that the ending of `path` names.

    Raises:
        ValueError: no such format.
    """
    import vl_convert

    form = path.suffix.removeprefix(".").lower()
    if form == "svg":
        path.write_text(vl_convert.vegalite_to_svg(spec), encoding="utf-8")
    elif form == "png":
        path.write_bytes(vl_convert.vegalite_to_png(spec, scale=PNG_SCALE))
    elif form == "pdf":
        path.write_bytes(vl_convert.vegalite_to_pdf(spec))
    elif form == "html":
        path.write_text(vl_convert.vegalite_to_html(spec, bundle=True, renderer="svg"), encoding="utf-8")
    elif form == "json":
        path.write_text(json.dumps(spec, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    else:
        raise ValueError(f"{path}: format '{form}' is not one of {', '.join(FORMATS)}")
