"""Comparisons as text, Markdown, CSV and JSON. Text fits the width that it is given: wide tables go in pieces."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any, Final

import polars as pl

from results.compare.compare import Comparison
from results.compare.dimensions import spelled
from results.render import Sheet, compact_count, decimal, interval, probability, shortened, show_sheets, signed
from results.statistics.verdicts import Verdict

Painter = Callable[[str, str], str]
"""Text and the name of a style -> text in that style."""

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


def plain(text: str, _style: str) -> str:
    """Return `text` without a style."""
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """What stands below one column's head: one text per row of the table, with its style."""

    head: tuple[str, str]
    texts: tuple[tuple[str, str], ...]

    @property
    def width(self) -> int:
        """How many signs the widest line has."""
        return max(len(line) for line in (*self.head, *(text for text, _ in self.texts)))


def comparison_text(table: Comparison, *, width: int, paint: Painter = plain) -> str:
    """Return a comparison as a table of at most `width` signs, with what its marks mean, notes and warnings."""
    rows = table.cells.select(table.layout.rows).unique(maintain_order=True).rows() if table.layout.rows else [()]
    labels, blocks = _labels(table, rows), _blocks(table, rows)
    label_width = sum(block.width + 2 for block in labels)
    lines = [paint(part, "strong") for part in wrap(comparison_title(table), width)]
    start = 0
    while start < len(blocks):
        end, used = start + 1, label_width + blocks[start].width
        while end < len(blocks) and used + 2 + blocks[end].width <= width:
            used += 2 + blocks[end].width
            end += 1
        lines += ["", *_piece([*labels, *blocks[start:end]], len(labels), paint)]
        start = end
    lines += ["", *(paint(part, "weak") for part in wrap(_legend(table), width))]
    lines += [part for note in table.notes for part in wrap(f"note: {note}", width, subsequent_indent="  ")]
    for warning in table.warnings:
        lines += [paint(part, "warning") for part in wrap(f"warning: {warning}", width, subsequent_indent="  ")]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def comparison_markdown(table: Comparison) -> str:
    """Return a comparison as one Markdown table with its notes."""
    rows = table.cells.select(table.layout.rows).unique(maintain_order=True).rows() if table.layout.rows else [()]
    labels, blocks = _labels(table, rows), _blocks(table, rows)
    every = [*labels, *blocks]
    sheet = Sheet(
        title=comparison_title(table),
        header=tuple(" ".join(" ".join(block.head).split()) for block in every),
        rows=tuple(
            tuple(" ".join(text.split()) for text, _ in row) for row in zip(*(b.texts for b in every), strict=True)
        ),
        left=len(labels),
    )
    notes = [*(f"- note: {note}" for note in table.notes), *(f"- warning: {warning}" for warning in table.warnings)]
    return "\n".join([show_sheets([sheet], "md"), _legend(table), *notes]) + "\n"


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
    number = f"{many}" if few == many else f"{few} to {many}"
    percent = round(100 * table.rule.confidence)
    unit = _unit(table)[0]
    return (
        f"{table.measure.name}{f' [{unit}]' if unit else ''}, mean of {number} replicate{'' if many == 1 else 's'}; "
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


def _labels(table: Comparison, rows: Sequence[tuple[Any, ...]]) -> list[_Block]:
    last = [("geomean", "strong")] if table.geomean.height else []
    blocks = []
    for i, name in enumerate(table.layout.rows):
        texts = [(shortened(spelled(row[i]), _LABEL_WIDTH), "") for row in rows]
        blocks.append(_Block(head=("", name), texts=(*texts, *(last if i == 0 else last and [("", "")]))))
    return blocks or [_Block(head=("", ""), texts=(("", ""),))]


def _blocks(table: Comparison, rows: Sequence[tuple[Any, ...]]) -> list[_Block]:
    """Return per column its values, and its differences where it is not the baseline's own."""
    layout = table.layout
    columns = table.cells.select(layout.cols).unique(maintain_order=True)
    found = {tuple(row[name] for name in layout.shown): row for row in table.cells.iter_rows(named=True)}
    means = {tuple(row[name] for name in layout.cols): row for row in table.geomean.iter_rows(named=True)}
    unit, show = _unit(table)
    blocks = []
    for column in columns.rows():
        head = ", ".join(
            shortened(_column(name, value), _LABEL_WIDTH) for name, value in zip(layout.cols, column, strict=True)
        )
        cells = [found.get(_key(layout.rows, row, layout.cols, column)) for row in rows]
        lines = [*cells, *([means.get(column)] if table.geomean.height else [])]
        values = [_value(line, show) for line in lines]
        blocks.append(_Block(head=(head, unit), texts=tuple(values)))
        if any(cell is not None and cell["verdict"] not in {Verdict.BASELINE, Verdict.DIES} for cell in cells):
            blocks[-1] = _joined(head, unit, values, [_difference(line) for line in lines])
    return blocks


def _value(line: dict[str, Any] | None, show: Callable[[float | None], str]) -> tuple[str, str]:
    """Return a value with its own interval, or the word for that there is none, and its style."""
    if line is None:
        return _NONE, ""
    if line.get("verdict") == Verdict.DIES:
        word, style = _MARKS[Verdict.DIES]
        return word + " " * _SPREAD_WIDTH, style
    return show(line["value"]) + _spread(line), ""


def _joined(head: str, unit: str, values: Sequence[tuple[str, str]], changes: Sequence[tuple[str, str]]) -> _Block:
    left = max(len(text) for text in (unit, *(value for value, _ in values)))
    right = max(len(text) for text in ("change  ", *(change for change, _ in changes)))
    texts = [
        (f"{v.rjust(left)}  {c.rjust(right)}", style or own)
        for (v, own), (c, style) in zip(values, changes, strict=True)
    ]
    return _Block(head=(head, f"{unit.rjust(left)}  {'change  '.rjust(right)}"), texts=tuple(texts))


def _key(rows: Sequence[str], row: Sequence[Any], cols: Sequence[str], column: Sequence[Any]) -> tuple[Any, ...]:
    place = {**dict(zip(cols, column, strict=True)), **dict(zip(rows, row, strict=True))}
    return tuple(place.values()) if not rows else tuple(place[n] for n in (*rows, *(c for c in cols if c not in rows)))


def _column(name: str, value: object) -> str:
    return spelled(value) if isinstance(value, str) else f"{name}={spelled(value)}"


def _spread(line: dict[str, Any]) -> str:
    """Return half the width of the value's own interval, in % of the value; blanks where there is none."""
    if line.get("value_low") is None or not line["value"]:
        return " " * _SPREAD_WIDTH
    return f" ±{100.0 * (line['value_high'] - line['value']) / abs(line['value']):.0f}%".ljust(_SPREAD_WIDTH)


def _difference(line: dict[str, Any] | None) -> tuple[str, str]:
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


def _piece(blocks: Sequence[_Block], labels: int, paint: Painter) -> list[str]:
    """Return the lines of some columns side by side, each line painted after it is padded."""
    lines = []
    for i in (0, 1):
        parts = [b.head[i].ljust(b.width) if j < labels else b.head[i].rjust(b.width) for j, b in enumerate(blocks)]
        lines.append(paint("  ".join(parts).rstrip(), "strong"))
    lines.append("-" * (sum(block.width + 2 for block in blocks) - 2))
    for i in range(len(blocks[0].texts)):
        parts = []
        for j, block in enumerate(blocks):
            text, style = block.texts[i]
            padded = text.ljust(block.width) if j < labels else text.rjust(block.width)
            parts.append(paint(padded, style) if style else padded)
        lines.append("  ".join(parts))
    return lines
