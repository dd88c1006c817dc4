"""Pictures for terminals: where a run stands at a glance, without leaving the shell."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from textwrap import wrap
from types import MappingProxyType
from typing import Any, Final

import polars as pl

from results.charts.breakdown import breakdown
from results.charts.change import spaced_ticks, symlog
from results.charts.frames import in_order, labels_of, show_guests
from results.prices.cost_groups import NATIVE
from results.ranked_run import BASELINE, RankedRun, is_dying
from results.render import enumerated

LABEL_ROOM: Final = 30
"""Columns that names of policies and the frame take."""
TICK_ROOM: Final = 7
"""Columns that a tick with its distance to the next takes."""
_MANY: Final = "+"
_GUESTS_NAMED: Final = 4
NO_BREAK: Final = "\u00a0"
_SIGNS: Final = "█▓▒░#*=-:."
"""Signs of the parts of a bar, so that parts can be told apart without colours."""

Picture = Callable[[RankedRun, pl.DataFrame, int], str]
"""Run, part of its summary, columns of the terminal -> text."""


def changes_picture(ranked: RankedRun, summary: pl.DataFrame, width: int) -> str:
    """Return a line per policy: a digit per guest at its change, on a bar over all of their 95 % intervals."""
    figure = _figure(width, labels := labels_of(summary.filter(pl.col("role") != BASELINE)))
    places = {label: len(labels) - row for row, label in enumerate(labels)}
    rows = summary.filter(pl.col("label").is_in(labels), pl.col("difference_percent").is_not_null())
    figure.line(0, "vertical", style="dotted")
    for (label,), group in rows.group_by("label", maintain_order=True):
        ends = _ends(group)
        place = places[str(label)]
        figure.draw(figure.segment([symlog(min(ends)), symlog(max(ends))], [place, place], marker="─"))
    for row in rows.sort("vcpus", "memory_mib").iter_rows(named=True):
        sign = str(row["vcpus"]) if row["vcpus"] < 10 else _MANY
        figure.draw(figure.signal([symlog(row["difference_percent"])], [places[row["label"]]], marker=sign))
    ends = [0.0, *_ends(rows)]
    ticks = spaced_ticks(min(ends), max(ends), (width - LABEL_ROOM) / TICK_ROOM)
    figure.ruler("x").ticks([symlog(tick) for tick in ticks], [f"{tick:+d}" if tick else "0" for tick in ticks])
    figure.title(f"change of elapsed time against {ranked.baseline}, %: a digit is the vCPUs of a guest")
    return "\n".join([_text(figure), *_dying_lines(summary, width)])


def _ends(rows: pl.DataFrame) -> list[float]:
    """Return the changes and the ends of their intervals."""
    names = ("difference_low", "difference_high", "difference_percent")
    return pl.concat([rows[name].drop_nulls() for name in names]).to_list()


def stacked_picture(ranked: RankedRun, summary: pl.DataFrame, width: int, *, native: bool) -> str:
    """Return a stacked bar per policy, for the largest of the guests that stand for all.

    With `native` it is all of the elapsed time, else what shadow paging adds to native time.
    """
    guest = show_guests(summary).tail(1)
    rows = breakdown(ranked, guest)
    # A part has the same sign in both pictures.
    signs = dict(zip(in_order(rows.sort("stack", maintain_order=True), "part"), _SIGNS, strict=False))
    if not native:
        rows = rows.filter(pl.col("part") != NATIVE)
        del signs[NATIVE]
    labels = labels_of(rows)
    value = "seconds" if native else "over_native"
    figure = _figure(width, labels)
    longest = 0.0
    for row, label in enumerate(labels):
        end = 0.0
        for part, length in rows.filter(pl.col("label") == label).sort("stack").select("part", value).iter_rows():
            if not length:
                continue
            place = len(labels) - row
            figure.draw(figure.segment([end, end + length], [place, place], marker=signs.get(part, _MANY)))
            end += length
        longest = max(longest, end)
    ticks = round_ticks(longest, max((width - LABEL_ROOM) // (2 * TICK_ROOM), 2))
    figure.ruler("x").ticks(ticks, [f"{tick:g}" for tick in ticks])
    what = "elapsed time, s" if native else "time on top of native, % of native"
    figure.title(f"{what}, on {guest['guest'][0]}")
    key = wrap("   ".join(f"{sign} {part}".replace(" ", NO_BREAK) for part, sign in signs.items()), width)
    dying = _dying_lines(summary.join(guest, on=["workload", "guest"], how="semi"), width)
    return "\n".join([_text(figure), *(line.replace(NO_BREAK, " ") for line in key), *dying])


def _dying_lines(summary: pl.DataFrame, width: int) -> list[str]:
    """Return a line per policy under which the host dies: in the picture it has nothing there."""
    dying = summary.filter(is_dying()).group_by("policy", maintain_order=True).agg("guest")
    lines = [
        f"{policy} dies (host BUG) on {enumerated(guests, most=_GUESTS_NAMED)}" for policy, guests in dying.iter_rows()
    ]
    return [part for line in lines for part in wrap(line, width, subsequent_indent="  ")]


def round_ticks(high: float, most: int) -> list[float]:
    """Return round numbers from zero up to `high`, evenly spaced, `most` of them beside zero.

    >>> round_ticks(79.1, 4), round_ticks(0.8, 5)
    ([0.0, 20.0, 40.0, 60.0], [0.0, 0.2, 0.4, 0.6, 0.8])
    """
    if high <= 0.0:
        return [0.0]
    power = 10.0 ** math.floor(math.log10(high / most))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * most >= high * (1.0 - 1e-9))
    return [round(step * count, 12) for count in range(math.floor(high / step * (1.0 + 1e-9)) + 1)]


def _figure(width: int, labels: Sequence[str]) -> Any:
    """Return an empty figure with a line per label."""
    import plotext

    figure = plotext.figure
    figure.clear()
    figure.theme("colorless")
    figure.plot_size(width, len(labels) + 4)
    if labels:
        count = len(labels)
        figure.ruler("y").ticks([count - row for row in range(count)], list(labels))
        figure.ruler("y").lim(1, count)
    return figure


def _text(figure: Any) -> str:
    import plotext

    lines = str(plotext.uncolorize(str(figure.build()))).splitlines()
    return "\n".join(line.rstrip() for line in lines).rstrip("\n")


PICTURES: Final[MappingProxyType[str, Picture]] = MappingProxyType(
    {
        "changes": changes_picture,
        "time": partial(stacked_picture, native=True),
        "overhead": partial(stacked_picture, native=False),
    }
)
"""Kind of chart -> its picture for terminals."""
