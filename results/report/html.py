"""HTML in small pieces; every text that is not ours passes `text` or `phrase`, which escape it."""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

import polars as pl

ROWS_MAX: Final = 400
"""Rows of a table on the page; the whole is in the data, and said so."""


SHORT_CHARACTERS: Final = 24
"""Texts up to this length stay on one line: names should not break at their hyphens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageColumn:
    """One column of a table: where its values are, its heading, and how a value is shown."""

    name: str
    heading: str
    form: str | Callable[[Any], str] = "{}"
    number: bool = True


def words(*names: str) -> tuple[PageColumn, ...]:
    """Return columns of words that are headed by their names."""
    return tuple(PageColumn(name=name, heading=name.replace("_", " "), number=False) for name in names)


def text(value: object) -> str:
    """Return a text that cannot end the element or attribute that holds it."""
    return escape(str(value), quote=True)


def phrase(value: str) -> str:
    """Return a sentence in which names stand in backquotes."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", text(value))


def table(rows: pl.DataFrame, columns: Sequence[PageColumn], caption: str, most: int = ROWS_MAX) -> str:
    """Return a table that scrolls inside its own box where the page is narrow."""
    shown = rows.head(most)
    head = "".join(f'<th scope="col"{_kind(column)}>{text(column.heading)}</th>' for column in columns)
    body = []
    for row in shown.iter_rows(named=True):
        first, *rest = (_shown(row[column.name], column) for column in columns)
        cells = "".join(f"<td{_kind(c, cell)}>{cell}</td>" for c, cell in zip(columns[1:], rest, strict=True))
        body.append(f'<tr><th scope="row"{_kind(columns[0])}>{first}</th>{cells}</tr>')
    left = rows.height - shown.height
    note = f"<p class=note>{left:,} more rows are not shown here.</p>" if left > 0 else ""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{text(caption)}"><table>'
        f"<caption>{text(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>{note}"
    )


def details(summary: str, content: str) -> str:
    """Return content that opens on demand."""
    return f"<details><summary>{text(summary)}</summary>{content}</details>"


def json_block(name: str, content: Any) -> str:
    """Return data for the page's script; no content can end the block early."""
    packed = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    harmless = packed.replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{harmless}</script>'


def script(source: str) -> str:
    """Return a script of ours."""
    if re.search(r"</script|<!--", source, flags=re.IGNORECASE):
        raise ValueError("the script holds '</script' or '<!--', which would end it early in a page")
    return f"<script>{source}</script>"


def source_hash(source: str) -> str:
    """Return the hash by which a content security policy lets one script run, and no other."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode() + "'"


def _kind(column: PageColumn, shown: str = "") -> str:
    if column.number:
        return ' class="number"'
    return ' class="short"' if 0 < len(shown) <= SHORT_CHARACTERS else ""


def _shown(value: object, column: PageColumn) -> str:
    if value is None:
        return "–"
    shown = column.form.format(value) if isinstance(column.form, str) else column.form(value)
    return text(shown.replace("-", "−") if column.number else shown)
