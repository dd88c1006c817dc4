"""The page: text, charts, data and scripts in one file that asks nothing of the network, and may not."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final

import polars as pl

from results.charts.curves import OVER, has_curve
from results.charts.export import vega_lite
from results.charts.grid import shown_grid
from results.charts.theme import DARK, LAYOUTS, LIGHT, chart_config
from results.notices.notices import NOTHING, Notices
from results.ranked_run import RankedRun
from results.report.figures import FIGURES, Figure
from results.report.html import details, json_block, phrase, script, source_hash, table, text
from results.report.sections import data_section, failures_section, provenance_section, published_table, sizes
from results.report.words import Answer, answer

SUMMARY_ROWS_MAX: Final = 10_000
"""Rows of the summary that come along as data: 2 to 3 MB; charts, tables and scripts take up to 6 MB more."""
_LIBRARIES: Final = "window.vega = vega; window.vegaLite = vegaLite; window.vegaEmbed = vegaEmbed;"
"""What the bundle of the chart library hands to page.js."""
SECTIONS: Final = MappingProxyType(
    {
        "grid": "All results",
        "size": "What the size of the guest changes",
        "knobs": "What the knobs change",
        "time": "Where the time goes",
        "windows": "When the time is lost",
        "trade-off": "Time, exits and memory",
    }
)
"""Name of a section with figures -> its title."""
_LAYOUTS: Final = ("page", "phone")
_GRID: Final = ("workload", "guest", "vcpus", "memory_mib", "policy", "replicates")


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One part of the page, with a heading and figures or other content."""

    name: str
    title: str
    intro: str
    content: str


def report_html(ranked: RankedRun, command: str, notices: Notices = NOTHING) -> str:
    """Return the report of a run as one HTML page; the same run and command give the same bytes.

    `command` is the one that makes this report again; `notices` are what has to be said first.
    """
    summary, notes = shown_grid(ranked.summary)
    comparison = ranked.published()
    found = {name: list(_drawn(name, ranked, summary)) for name in SECTIONS}
    tables: dict[str, Any] = {}
    charts = {figure.name: _specs(figure, tables) for group in found.values() for figure in group}
    names = _data_tables(ranked, comparison, tables, notes)
    sections = [
        *_chart_sections(found, notes),
        *_published_section(comparison),
        Section(name="failures", title="Failures", intro="", content=failures_section(ranked.run.failures())),
        Section(
            name="provenance",
            title="Where the numbers come from",
            intro="",
            content=provenance_section(ranked, command),
        ),
        Section(name="data", title="Data", intro="", content=data_section(ranked, names, notes)),
    ]
    configs = {
        f"{layout}-{name}": chart_config(theme, LAYOUTS[layout].font_px)
        for layout in _LAYOUTS
        for name, theme in (("light", LIGHT), ("dark", DARK))
    }
    blocks = [
        json_block(name, content) for name, content in (("tables", tables), ("charts", charts), ("configs", configs))
    ]
    return _page(
        title=", ".join([str(ranked.run.spec["name"]), *(one.extent for one in notices.incomplete.values())]),
        lead=" · ".join(sizes(ranked)),
        verdict_html=_verdict(answer(ranked, comparison), notices),
        sections=sections,
        blocks=blocks,
    )


def _drawn(name: str, ranked: RankedRun, summary: pl.DataFrame) -> Iterator[Figure]:
    """Yield the figures of a section; where curves show the intervals, the list of all changes would say it again."""
    curves = any(has_curve(summary, over) for over in OVER)
    for figure in FIGURES[name](ranked, summary):
        if figure.kind != "changes" or not curves:
            yield figure


def _chart_sections(found: Mapping[str, Sequence[Figure]], notes: Sequence[str]) -> Iterator[Section]:
    for name, title in SECTIONS.items():
        if found[name]:
            intro = " ".join(notes) if name == "grid" else ""
            yield Section(
                name=name, title=title, intro=intro, content="".join(_figure(figure) for figure in found[name])
            )


def _published_section(comparison: pl.DataFrame | None) -> Iterator[Section]:
    if comparison is not None:
        yield Section(
            name="published",
            title="Beside what was published",
            intro="What others measured on real machines; nothing was fitted to it.",
            content=published_table(comparison),
        )


def _specs(figure: Figure, tables: dict[str, Any]) -> dict[str, Any]:
    """Return a chart for each layout, its rows moved to `tables`, where charts of the same rows share them."""
    specs = {}
    for name in _LAYOUTS:
        spec = vega_lite(figure.draw(LAYOUTS[name]))
        spec["description"] = figure.words
        data = spec.pop("datasets", {})
        tables |= {key: _columnar(pl.DataFrame(rows, infer_schema_length=None)) for key, rows in data.items()}
        specs[name] = {"spec": spec, "data": list(data)}
    return specs


def _data_tables(
    ranked: RankedRun, comparison: pl.DataFrame | None, tables: dict[str, Any], notes: list[str]
) -> dict[str, str]:
    """Put the data that readers can save into `tables`, and return what each of them holds."""
    shown = ranked.summary.drop("panel", "size", "label", "rank")
    rows = shown.select(*_GRID, *[name for name in shown.columns if name not in _GRID])
    if rows.height > SUMMARY_ROWS_MAX:
        notes.append(
            f"{SUMMARY_ROWS_MAX:,} of {rows.height:,} rows of the summary are here; `sweep summarize RUN --csv` "
            "prints all."
        )
    tables["summary"] = _columnar(rows.head(SUMMARY_ROWS_MAX))
    names = {"summary": "times, changes and intervals"}
    if comparison is not None:
        tables["published"] = _columnar(comparison)
        names["published"] = "predicted beside published"
    return names


def _columnar(rows: pl.DataFrame) -> dict[str, Any]:
    """Return names and columns; texts, which repeat, as their values and a code per row."""

    def plain(value: Any) -> Any:
        return None if isinstance(value, float) and not math.isfinite(value) else value

    def packed(column: pl.Series) -> Any:
        if column.dtype != pl.String:
            return [plain(value) for value in column.to_list()]
        values = column.unique(maintain_order=True).to_list()
        codes = {value: code for code, value in enumerate(values)}
        return {"values": values, "codes": [codes[value] for value in column]}

    return {"names": rows.columns, "columns": [packed(column) for column in rows]}


def _figure(figure: Figure) -> str:
    behind = "" if figure.rows is None else details("Table", table(figure.rows, figure.columns, figure.title))
    return (
        f'<figure aria-labelledby="{figure.name}-title"><h3 id="{figure.name}-title">{phrase(figure.title)}</h3>'
        f"<figcaption>{phrase(figure.caption)}</figcaption>"
        f'<div class="chart" id="{figure.name}" role="img" aria-label="{text(figure.words)}"></div>'
        f'<div class="paper" aria-hidden="true"></div>{behind}</figure>'
    )


def _verdict(found: Answer, notices: Notices) -> str:
    first = "".join(f'<p class="headline" role="alert">{phrase(line)}</p>' for line in notices.first)
    others = details("The other policies", _points(found.others)) if found.others else ""
    notes = "".join(f"<p class=note>{phrase(note)}</p>" for note in notices.notes)
    notes += f"<p class=note>{phrase(found.meaning)}</p>" if found.meaning else ""
    return (
        '<section class="verdict" aria-labelledby="verdict"><h2 id="verdict">Verdict</h2>'
        f'{first}<p class="headline">{phrase(found.headline)}</p>{_points(found.points)}{others}{notes}</section>'
    )


def _points(points: Sequence[tuple[str, str]]) -> str:
    shown = "".join(f"<dt>{text(about)}</dt><dd>{phrase(sentence)}</dd>" for about, sentence in points)
    return f"<dl>{shown}</dl>"


def _page(*, title: str, lead: str, verdict_html: str, sections: Sequence[Section], blocks: Sequence[str]) -> str:
    import vl_convert

    folder = files("results.report")
    scripts = [vl_convert.javascript_bundle(_LIBRARIES), (folder / "page.js").read_text(encoding="utf-8")]
    licenses = (folder / "licenses.txt").read_text(encoding="utf-8")
    style = (folder / "style.css").read_text(encoding="utf-8")
    # Scripts run if their hash is here, so nothing that the run's names smuggle in; the network is closed to all.
    policy = (
        f"default-src 'none'; script-src {' '.join(source_hash(s) for s in scripts)}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    links = "".join(f'<li><a href="#{section.name}">{text(section.title)}</a></li>' for section in sections)
    body = "".join(
        f'<section aria-labelledby="{section.name}"><h2 id="{section.name}">{text(section.title)}</h2>'
        f"{f'<p class=note>{phrase(section.intro)}</p>' if section.intro else ''}{section.content}</section>"
        for section in sections
    )
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}: report of a sweep</title><style>{style}</style></head>"
    )
    return (
        f'{head}<body><header><h1>{text(title)}</h1><p class="lead">{text(lead)}</p></header>'
        f'<main>{verdict_html}<nav aria-label="Sections"><ul>{links}</ul></nav>'
        "<noscript><p>Charts need JavaScript; the tables below them say the same.</p></noscript>"
        f"{body}</main><footer>{details('Licenses of what draws the charts', f'<pre>{text(licenses)}</pre>')}</footer>"
        f"{''.join(blocks)}{''.join(script(s) for s in scripts)}</body></html>\n"
    )
