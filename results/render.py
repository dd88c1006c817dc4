"""Summaries as text, Markdown, CSV and JSON. Text fits 120 columns; CSV and JSON hold every digit."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any, Final

import polars as pl

from results.statistics.moments import CONFIDENCE
from results.statistics.verdicts import Verdict
from results.wording import counted

FORMATS: Final = ("text", "md", "csv", "json")
WIDTH: Final = 120
_NAME_WIDTH: Final = 30
_NONE: Final = "-"

Painter = Callable[[str, str], str]
"""Text and the name of a style -> text in that style."""


def plain(text: str, _style: str) -> str:
    """Return `text` without a style."""
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A titled table of text, ready to be shown; `left` columns are left-aligned, the others right-aligned."""

    title: str
    header: tuple[str, ...]
    """Heads of the columns, all of the same number of lines."""
    rows: tuple[tuple[str, ...], ...]
    left: int = 1
    styles: tuple[tuple[str, ...], ...] = ()
    """Of each text in `rows` the name of its style, or an empty text; for terminals."""


def render(
    summary: pl.DataFrame,
    form: str,
    comparison: pl.DataFrame | None = None,
    notes: Sequence[str] = (),
    *,
    confidence: float = CONFIDENCE,
    more: Mapping[str, Any] | None = None,
) -> str:
    """Return a summary as `form`: text, md, csv or json; with a comparison with published numbers, and with notes.

    CSV holds the summary alone. `confidence` is that of the summary's intervals; `more` are further fields of JSON.

    Raises:
        ValueError: no such form.
    """
    if form == "csv":
        return summary.write_csv()
    if form == "json":
        return _json(summary, comparison, notes, more or {})
    if form not in FORMATS:
        raise ValueError(f"form '{form}' is not one of {', '.join(FORMATS)}")
    sheets = [*summary_sheets(summary, confidence), *([] if comparison is None else comparison_sheets(comparison))]
    return show_sheets(sheets, form) + show_notes(notes, form)


def show_sheets(sheets: Iterable[Sheet], form: str) -> str:
    """Return sheets one below the other, as `text` or as `md`."""
    show = _markdown if form == "md" else _text
    return "\n".join(show(sheet) for sheet in sheets)


def show_notes(notes: Sequence[str], form: str) -> str:
    """Return what a reader of a table must know, one paragraph per note below a blank line."""
    lines = (
        f"- {note}" if form == "md" else "\n".join(wrap(f"note: {note}", WIDTH, subsequent_indent="  "))
        for note in notes
    )
    return "".join(f"\n{line}" for line in lines) + ("\n" if notes else "")


def summary_sheets(summary: pl.DataFrame, confidence: float) -> Iterator[Sheet]:
    """Yield one sheet per workload and guest."""
    width = f"{round(100 * confidence)} % interval"
    header = ("policy", "elapsed s", "diff %", width, "exits", "emulations", "floods", "zaps", "lock s")
    for _, group in summary.group_by("workload", "guest", maintain_order=True):
        found = group.to_dicts()
        first = found[0]
        fatal = [row["policy"] for row in found if row["verdict"] == Verdict.DIES]
        title = (
            f"{first['workload']} on {first['guest']} ({first['vcpus']} vCPU, {first['memory_mib']} MiB): "
            f"native {first['native_s']:.4g} s, {counted(first['replicates'], 'replicate')}"
        )
        rows = tuple(map(_summary_row, found))
        if fatal:
            title += "\n! host BUG, the machine dies, so there are no numbers: " + ", ".join(fatal)
        if any(row["verdict"] == Verdict.BASELINE_DIES for row in found):
            title += "\n! the baseline is among them: nothing can be compared with it"
        yield Sheet(title=title, header=header, rows=rows)


def _summary_row(row: dict[str, Any]) -> tuple[str, ...]:
    counts = (row[c] for c in ("exits", "insn_emulation", "mmu_flooded", "mmu_shadow_zapped"))
    if row["verdict"] == Verdict.DIES:
        return (shortened(row["policy"]) + " !", str(Verdict.DIES), *[_NONE] * 7)
    return (
        shortened(row["policy"]),
        f"{row['elapsed_s']:.2f}",
        signed(row["difference_percent"]),
        interval(row["difference_low"], row["difference_high"]),
        *(compact_count(count) for count in counts),
        decimal(row["lock_wait_s"]),
    )


def comparison_sheets(comparison: pl.DataFrame) -> Iterator[Sheet]:
    """Yield one sheet per published comparison: predictions per guest, and what was published."""
    for (name, workload, unit), group in comparison.group_by("comparison", "workload", "unit", maintain_order=True):
        first = group.row(0, named=True)
        is_change = unit == "%"
        rows = [
            (
                f"{row['guest']} ({row['vcpus']} vCPU, {row['memory_mib']} MiB)",
                signed(row["predicted"]) if is_change else f"{row['predicted']:.2f}",
                interval(row["predicted_low"], row["predicted_high"], plus=is_change),
                str(row["replicates"]),
            )
            for row in group.iter_rows(named=True)
        ]
        published = signed(first["published"]) if is_change else f"{first['published']:.2f}"
        rows.append(
            ("published", published, interval(first["published_low"], first["published_high"], plus=is_change), _NONE)
        )
        title = f"{name}, {workload}: predicted beside published\n{first['source']}"
        yield Sheet(title=title, header=("guest", str(unit), "95 % interval", "replicates"), rows=tuple(rows))


def probability(value: float | None) -> str:
    """Return a p-value as tables show it, never as 0."""
    if value is None:
        return _NONE
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def compact_count(value: float) -> str:
    """Return a count in at most six signs, such as 12.3M.

    >>> compact_count(950), compact_count(12_345_678), compact_count(999_960)
    ('950', '12.3M', '1.00M')
    """
    for unit, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        scaled = value / unit
        if scaled >= 0.99995:
            digits = 2 if scaled < 9.995 else 1 if scaled < 99.95 else 0
            return f"{scaled:.{digits}f}{sign}"
    return f"{value:.0f}"


def shortened(name: str, width: int = _NAME_WIDTH) -> str:
    """Return `name`, its middle left out where it is longer than `width`."""
    if len(name) <= width:
        return name
    tail = (width - 1) // 2
    return f"{name[: width - 1 - tail]}…{name[-tail:]}"


def enumerated(names: Sequence[str], most: int = 4) -> str:
    """Return names as a phrase; of more than `most` the first ones, and how many more there are.

    >>> enumerated(["a", "b", "c"]), enumerated(["a", "b", "c"], most=2)
    ('a, b and c', 'a, b and 1 more')
    """
    shown = list(names[:most])
    if len(names) > most:
        shown.append(f"{len(names) - most} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def signed(value: float | None) -> str:
    """Return a number with its sign, or a dash for none."""
    return _NONE if value is None else decimal(value, "+")


def decimal(value: float, sign: str = "") -> str:
    """Return a number with two decimals, without any from 1000 on, and short from a million on; zero has no sign -.

    >>> decimal(-0.001, "+"), decimal(5213.4, "+"), decimal(-12_345_678.0)
    ('+0.00', '+5,213', '-12.3M')
    """
    if abs(value) >= 1e6:
        return f"{'-' if value < 0 else sign}{compact_count(abs(value))}"
    return f"{round(value, 2) + 0.0:{sign}.2f}" if abs(value) < 1000 else f"{value:{sign},.0f}"


def interval(low: float | None, high: float | None, *, plus: bool = True) -> str:
    """Return an interval, or a dash where a bound is missing."""
    if low is None or high is None:
        return _NONE
    sign = "+" if plus else ""
    return f"[{decimal(low, sign)}, {decimal(high, sign)}]"


def _text(sheet: Sheet) -> str:
    title = [part for line in sheet.title.splitlines() for part in wrap(line, WIDTH)]
    return "\n".join([*title, *next(table_pieces(sheet))]) + "\n"


def table_pieces(sheet: Sheet, width: float = math.inf, paint: Painter = plain) -> Iterator[list[str]]:
    """Yield the lines of a table in pieces of at most `width` signs: as many columns as fit beside the left ones."""
    heads = tuple(zip(*(head.split("\n") for head in sheet.header), strict=True))
    widths = [max(map(len, column)) for column in zip(*heads, *sheet.rows, strict=True)]
    plainly = ("",) * len(widths)
    styles = sheet.styles or (plainly,) * len(sheet.rows)

    def line(row: Sequence[str], style: Sequence[str], columns: Sequence[int]) -> str:
        padded = {i: row[i].ljust(widths[i]) if i < sheet.left else row[i].rjust(widths[i]) for i in columns}
        # What paints takes no room, so it comes last.
        return "  ".join(paint(text, style[i]) if style[i] else text for i, text in padded.items()).rstrip()

    for columns in _side_by_side(widths, sheet.left, width):
        top = [line(head, plainly, columns) for head in heads]
        body = [line(row, style, columns) for row, style in zip(sheet.rows, styles, strict=True)]
        yield [*(paint(one, "strong") for one in top), "-" * max(map(len, top)), *body]


def _side_by_side(widths: Sequence[int], left: int, most: float) -> Iterator[list[int]]:
    """Yield the columns of each piece, as indices; a column that is too wide has a piece of its own."""
    columns = list(range(left))
    for i in range(left, len(widths)):
        if len(columns) > left and sum(widths[one] + 2 for one in columns) + widths[i] > most:
            yield columns
            columns = columns[:left]
        columns = [*columns, i]
    yield columns


def _markdown(sheet: Sheet) -> str:
    marks = ["---" if i < sheet.left else "---:" for i in range(len(sheet.header))]
    table = [sheet.header, marks, *sheet.rows]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table]
    return (
        "\n".join(["**" + sheet.title.replace("\n", "**  \n", 1) + ("" if "\n" in sheet.title else "**"), "", *lines])
        + "\n"
    )


def _json(summary: pl.DataFrame, comparison: pl.DataFrame | None, notes: Sequence[str], more: Mapping[str, Any]) -> str:
    content: dict[str, Any] = {"summary": summary.to_dicts(), **more}
    if comparison is not None:
        content["comparison"] = comparison.to_dicts()
    if notes:
        content["notes"] = list(notes)
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
