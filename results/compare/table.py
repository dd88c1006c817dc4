"""Comparisons as text, Markdown, CSV and JSON. Text fits the width that it is given: wide tables go in pieces."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from textwrap import wrap
from typing import Any, Final

import polars as pl

from results.compare.compare import Comparison
from results.compare.dimensions import spelled
from results.render import (
    Painter,
    Sheet,
    compact_count,
    decimal,
    interval,
    plain,
    probability,
    shortened,
    show_sheets,
    signed,
    table_pieces,
)
from results.statistics.verdicts import Verdict
from results.wording import counted

_MARKS: Final = {
    Verdict.BETTER: ("*", "good"),
    Verdict.WORSE: ("*", "bad"),
    Verdict.SAME: ("=", "weak"),
    Verdict.OPEN: ("?", ""),
    Verdict.BASELINE: (" ", ""),
    Verdict.DIES: (str(Verdict.DIES), "bad"),
    Verdict.BASELINE_DIES: (str(Verdict.BASELINE_DIES), ""),
}
_LABEL_WIDTH: Final = 24
_SPREAD_WIDTH: Final = len(" ±12%")
_NONE: Final = "-"
_Text = tuple[str, str]
"""What stands in a place of the table, and the name of its style."""


def comparison_text(table: Comparison, *, width: int, paint: Painter = plain) -> str:
    """Return a comparison as a table of at most `width` signs, with what its marks mean, notes and warnings."""
    sheet = _sheet(table)
    lines = [paint(part, "strong") for part in wrap(sheet.title, width)]
    for piece in table_pieces(sheet, width, paint):
        lines += ["", *piece]
    lines += ["", *(paint(part, "weak") for part in wrap(_legend(table), width))]
    lines += [part for note in table.notes for part in wrap(f"note: {note}", width, subsequent_indent="  ")]
    for warning in table.warnings:
        lines += [paint(part, "warning") for part in wrap(f"warning: {warning}", width, subsequent_indent="  ")]
    return "\n".join(lines) + "\n"


def comparison_markdown(table: Comparison) -> str:
    """Return a comparison as one Markdown table with its notes."""
    sheet = _sheet(table)
    header, *rows = (tuple(" ".join(text.split()) for text in row) for row in (sheet.header, *sheet.rows))
    notes = [*(f"- note: {note}" for note in table.notes), *(f"- warning: {warning}" for warning in table.warnings)]
    shown = show_sheets([replace(sheet, header=header, rows=tuple(rows))], "md")
    return "\n".join([shown, _legend(table), *notes]) + "\n"


def _sheet(table: Comparison) -> Sheet:
    """Return a comparison as people read it: rows and columns as asked for, each value beside its difference."""
    rows = table.cells.select(table.layout.rows).unique(maintain_order=True).rows() if table.layout.rows else [()]
    labels = _labels(table, rows)
    heads, columns = zip(*labels, *_columns(table, rows), strict=True)
    cells = list(zip(*columns, strict=True))
    return Sheet(
        title=comparison_title(table),
        header=heads,
        rows=tuple(tuple(text for text, _ in row) for row in cells),
        left=len(labels),
        styles=tuple(tuple(style for _, style in row) for row in cells),
    )


def comparison_list(table: Comparison) -> Sheet:
    """Return the table cells that are compared, one per row; the baseline's own are left out."""
    show = _unit(table)[1]
    labels = table.layout.shown
    rows = tuple(
        (
            *(shortened(spelled(row[name])) for name in labels),
            str(Verdict.DIES) if row["verdict"] == Verdict.DIES else show(row["value"]),
            signed(row["difference_percent"]),
            interval(row["difference_low"], row["difference_high"]),
            probability(row["p_holm"]),
            str(row["replicates"]),
            row["verdict"],
        )
        for row in table.cells.iter_rows(named=True)
        if row["verdict"] != Verdict.BASELINE
    )
    header = (*labels, table.measure.name, "diff %", "interval", "p (Holm)", "n", "verdict")
    return Sheet(title=comparison_title(table), header=header, rows=rows, left=len(labels))


def comparisons_csv(tables: Sequence[Comparison]) -> str:
    """Return one line per table cell of all tables, with every digit."""
    frames = [
        table.cells.select(
            pl.lit(table.measure.name).alias("metric"), pl.lit(table.measure.unit).alias("unit"), pl.all()
        )
        for table in tables
    ]
    return pl.concat(frames).write_csv()


def comparison_content(table: Comparison) -> dict[str, Any]:
    """Return a comparison as plain values for JSON."""
    layout = table.layout
    return {
        "metric": table.measure.name,
        "unit": table.measure.unit,
        "description": table.measure.description,
        "more_is_better": table.measure.is_more_better,
        "rows": list(layout.rows),
        "cols": list(layout.cols),
        "baseline": {layout.baseline.dimension: layout.baseline.value},
        "confidence": table.rule.confidence,
        "minimum_effect_percent": table.rule.minimum_effect,
        "cells": table.cells.to_dicts(),
        "geomean": table.geomean.to_dicts(),
        "deaths": table.deaths.to_dicts(),
        "notes": list(table.notes),
        "warnings": list(table.warnings),
    }


def comparisons_json(tables: Sequence[Comparison], **more: Any) -> str:
    """Return comparisons, and what else belongs to them, as JSON."""
    content = {"schema": "compare/1", "tables": [comparison_content(table) for table in tables], **more}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def comparison_title(table: Comparison) -> str:
    """Return what a table shows, and against what."""
    counts = table.cells["replicates"].to_list()
    few, many = min(counts), max(counts)
    number = counted(many, "replicate") if few == many else f"{few} to {counted(many, 'replicate')}"
    percent = round(100 * table.rule.confidence)
    unit = _unit(table)[0]
    return (
        f"{table.measure.name}{f' [{unit}]' if unit else ''}, mean of {number}; "
        f"change against {table.layout.baseline} in %, paired, with its {percent} % interval"
    )


def _legend(table: Comparison) -> str:
    effect = f"{table.rule.minimum_effect:g}"
    better = "more" if table.measure.is_more_better else "less"
    meanings = {
        "*": f"* differs by more than {effect} % ({better} is better)",
        "=": f"= differs by less than {effect} %",
        "?": "? not enough replicates to say",
        str(Verdict.DIES): "dies: the host dies under the policy in some replicate, so there is no number",
    }
    used = {_MARKS[Verdict(verdict)][0] for verdict in table.cells["verdict"]}
    found = [text for mark, text in meanings.items() if mark in used]
    return "; ".join([*found, "sure for all cells together (Holm)"]) if found else ""


def _labels(table: Comparison, rows: Sequence[tuple[Any, ...]]) -> list[tuple[str, list[_Text]]]:
    last = [("geomean", "strong")] if table.geomean.height else []
    columns = []
    for i, name in enumerate(table.layout.rows):
        texts = [(shortened(spelled(row[i]), _LABEL_WIDTH), "") for row in rows]
        columns.append((f"\n{name}", [*texts, *(last if i == 0 else last and [("", "")])]))
    return columns or [("\n", [("", "")])]


def _columns(table: Comparison, rows: Sequence[tuple[Any, ...]]) -> list[tuple[str, list[_Text]]]:
    """Return per column its head and its values, with the differences where it is not the baseline's own."""
    layout = table.layout
    found = {tuple(row[name] for name in layout.shown): row for row in table.cells.iter_rows(named=True)}
    means = {tuple(row[name] for name in layout.cols): row for row in table.geomean.iter_rows(named=True)}
    unit, show = _unit(table)
    columns = []
    for column in table.cells.select(layout.cols).unique(maintain_order=True).rows():
        place = dict(zip(layout.cols, column, strict=True))
        head = ", ".join(shortened(_column(name, value), _LABEL_WIDTH) for name, value in place.items())
        keys = [place | dict(zip(layout.rows, row, strict=True)) for row in rows]
        cells = [found.get(tuple(key[name] for name in layout.shown)) for key in keys]
        lines = [*cells, *([means.get(column)] if table.geomean.height else [])]
        values = [_value(line, show) for line in lines]
        second = unit
        if any(cell is not None and cell["verdict"] not in {Verdict.BASELINE, Verdict.DIES} for cell in cells):
            second, values = _joined(unit, values, [_difference(line) for line in lines])
        columns.append((f"{head}\n{second}", values))
    return columns


def _value(line: dict[str, Any] | None, show: Callable[[float | None], str]) -> _Text:
    """Return a value with its own interval, or the word for that there is none, and its style."""
    if line is None:
        return _NONE, ""
    if line.get("verdict") == Verdict.DIES:
        word, style = _MARKS[Verdict.DIES]
        return word + " " * _SPREAD_WIDTH, style
    return show(line["value"]) + _spread(line), ""


def _joined(unit: str, values: Sequence[_Text], changes: Sequence[_Text]) -> tuple[str, list[_Text]]:
    """Return the second line of a head and the texts of a column that holds values and changes side by side."""
    left = max(len(text) for text in (unit, *(value for value, _ in values)))
    right = max(len(text) for text in ("change  ", *(change for change, _ in changes)))
    texts = [
        (f"{v.rjust(left)}  {c.rjust(right)}", style or own)
        for (v, own), (c, style) in zip(values, changes, strict=True)
    ]
    return f"{unit.rjust(left)}  {'change  '.rjust(right)}", texts


def _column(name: str, value: object) -> str:
    return spelled(value) if isinstance(value, str) else f"{name}={spelled(value)}"


def _spread(line: dict[str, Any]) -> str:
    """Return half the width of the value's own interval, in % of the value; blanks where there is none."""
    if line.get("value_low") is None or not line["value"]:
        return " " * _SPREAD_WIDTH
    return f" ±{100.0 * (line['value_high'] - line['value']) / abs(line['value']):.0f}%".ljust(_SPREAD_WIDTH)


def _difference(line: dict[str, Any] | None) -> _Text:
    """Return a difference with its interval and its mark, and the style of both."""
    if line is not None and line.get("verdict") == Verdict.BASELINE_DIES:
        return _MARKS[Verdict.BASELINE_DIES]
    if line is None or line["difference_percent"] is None:
        return _NONE.ljust(2), ""
    mark, style = _MARKS[Verdict(line["verdict"])] if "verdict" in line else (" ", "strong")
    mean, low, high = line["difference_percent"], line["difference_low"], line["difference_high"]
    if low is None or high is None:
        return f"{decimal(mean, '+')} {mark}", style
    half = (high - low) / 2
    if max(abs(mean), half) >= 1000:
        # Both in the same notation, or one would have to count digits.
        return f"{mean:+,.0f} ±{half:,.0f} {mark}", style
    return f"{decimal(mean, '+')} ±{decimal(half)} {mark}", style


def _unit(table: Comparison) -> tuple[str, Callable[[float | None], str]]:
    """Return the unit in which a table shows its values, and what shows one."""
    values = [abs(value) for value in table.cells["value"].to_list() if value]
    if table.measure.unit in {"1", "ns"}:
        unit = "" if table.measure.unit == "1" else table.measure.unit
        return unit, lambda value: _NONE if value is None else _count(value)
    if table.measure.unit == "s":
        largest = max(values, default=1.0)
        unit, factor = next(
            ((u, f) for u, f in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)) if largest * f >= 1), ("ns", 1e9)
        )
        digits = min(3, max(0, 3 - math.floor(math.log10(max(largest * factor, 1.0)))))
        return unit, lambda value: _NONE if value is None else f"{value * factor:.{digits}f}"
    return table.measure.unit, lambda value: _NONE if value is None else f"{value:.4g}"


def _count(value: float) -> str:
    return compact_count(value) if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"
