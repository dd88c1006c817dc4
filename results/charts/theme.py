"""How charts look: sizes for pages, phones and paper, and colours that hold without colour vision, light and dark.

Colours of series and of stacks are those of Okabe and Ito ("Color Universal Design", 2008): series take the ones that
stand out from the background by 3:1 (WCAG 2.2, 1.4.11), stacks take all, with an edge around each part. Differences run
from blue over a neutral middle to orange, the pair that all common kinds of colour blindness keep apart. No chart says
anything by colour alone: numbers, shapes, order or panels say it as well.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

FONT: Final = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', 'DejaVu Sans', Arial, sans-serif"
PAPER_FONT: Final = "'Helvetica Neue', Helvetica, Arial, 'DejaVu Sans', sans-serif"
PX_PER_MM: Final = 96 / 25.4
"""CSS: 96 px are an inch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Room for a chart: its whole width, the size of its letters, and panels side by side."""

    name: str
    width: int
    font_px: float
    narrow: bool = False

    def columns(self, wanted: int) -> int:
        """Return how many panels stand side by side where `wanted` are on a wide page."""
        return 1 if self.narrow else wanted

    def text_px(self, characters: int) -> int:
        """Return the room that a text of so many characters takes; letters are a little over half as wide as high."""
        return round(0.56 * self.font_px * characters)


LAYOUTS: Final = MappingProxyType(
    {
        layout.name: layout
        for layout in (
            Layout(name="page", width=860, font_px=13),
            Layout(name="phone", width=342, font_px=11.5, narrow=True),
            # Type area of two columns and of one column of common proceedings, letters of 8 pt.
            Layout(name="paper", width=round(178 * PX_PER_MM), font_px=8 * 96 / 72),
            Layout(name="column", width=round(86 * PX_PER_MM), font_px=8 * 96 / 72, narrow=True),
        )
    }
)
"""Name -> layout: two for the report, two for papers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Theme:
    """Colours on one kind of background."""

    ink: str
    muted: str
    grid: str
    background: str
    cell_ink: str
    strong_ink: str
    series: tuple[str, ...]
    parts: tuple[str, ...]
    diverging: tuple[str, ...]
    single: str


_OKABE_ITO: Final = ("#0072B2", "#E69F00", "#56B4E9", "#D55E00", "#009E73", "#CC79A7", "#F0E442")
"""In an order in which neighbours of a stack differ in lightness too."""

_MIDDLE_BLUE: Final = "#2e79be"
_MIDDLE_ORANGE: Final = "#b25f18"
"""Half-way colours on which black and white letters have the same contrast, 4.5:1 (WCAG 2.2, 1.4.3)."""

LIGHT: Final = Theme(
    ink="#1f2328",
    muted="#57606a",
    grid="#d8dee4",
    background="#ffffff",
    cell_ink="#000000",
    strong_ink="#ffffff",
    series=("#0072B2", "#D55E00", "#008560", "#a8427f", "#4d4d4d", "#7a6400"),
    parts=("#e3e7eb", *_OKABE_ITO, "#4d4d4d", "#9da7b3"),
    diverging=("#052c58", _MIDDLE_BLUE, "#f4f4f2", _MIDDLE_ORANGE, "#5f2200"),
    single="#0072B2",
)
DARK: Final = Theme(
    ink="#e6edf3",
    muted="#9da7b3",
    grid="#30363d",
    background="#0f1419",
    cell_ink="#ffffff",
    strong_ink="#000000",
    series=("#4f9fdc", "#f0803c", "#1fc397", "#dd9bbf", "#b3b3b3", "#F0E442"),
    parts=("#39414a", *_OKABE_ITO, "#e6e6e6", "#8b949e"),
    diverging=("#b5dcff", _MIDDLE_BLUE, "#21262d", _MIDDLE_ORANGE, "#ffd2a3"),
    single="#4f9fdc",
)


def chart_config(theme: Theme, font_px: float, font: str = FONT) -> dict[str, Any]:
    """Return the Vega-Lite configuration that draws every chart in `theme` with letters of `font_px`."""
    small = font_px * 0.92
    label = {"labelColor": theme.ink, "titleColor": theme.ink, "labelFontSize": small, "titleFontSize": small}
    lines = {"gridColor": theme.grid, "domainColor": theme.muted, "tickColor": theme.muted}
    return {
        "font": font,
        "background": None,
        "view": {"stroke": theme.grid},
        "axis": {**label, **lines, "titleFontWeight": "normal", "titlePadding": 8},
        "header": {**label, "labelFontSize": font_px, "labelFontWeight": 600, "titleFontWeight": "normal"},
        "legend": {**label, "titleFontWeight": "normal", "symbolSize": 90},
        "title": {"color": theme.ink, "fontSize": font_px, "fontWeight": 600, "subtitleColor": theme.muted},
        "text": {"fontSize": small},
        "rule": {"color": theme.muted},
        "area": {"color": theme.single},
        "style": {
            "ink": {"color": theme.ink},
            "number": {"color": theme.cell_ink},
            "halo": {"color": theme.background, "stroke": theme.background, "strokeWidth": 3},
            "strong": {"color": theme.strong_ink},
            "seam": {"stroke": theme.background, "strokeWidth": 1},
            "edge": {"stroke": theme.muted, "strokeWidth": 0.6},
            "guide": {"stroke": theme.muted},
        },
        "range": {"category": list(theme.series), "diverging": list(theme.diverging), "ordinal": list(theme.parts)},
    }
