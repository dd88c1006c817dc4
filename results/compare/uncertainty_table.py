"""What uncertain costs do, as sheets: the conclusions of each guest, and the tornado of the costs."""

from collections.abc import Iterator
from typing import Any, Final

import polars as pl

from results.render import Sheet, interval, shortened, signed
from results.statistics.verdicts import DEAD
from results.wording import counted

_NAME_WIDTH: Final = 18
_BAR_WIDTH: Final = 12
_PLACE_WIDTH: Final = 36
_SHOWN_PERCENT: Final = 0.005
"""The least that two decimals show."""


def conclusion_sheets(conclusions: pl.DataFrame, baseline: str) -> Iterator[Sheet]:
    """Yield one sheet per workload and guest: differences, their intervals, verdicts and what moves them most."""
    sampled = "cost_low" in conclusions.columns
    costs = ("over costs", "stays") if sampled else ()
    header = ("policy", "diff %", "over replicates", *costs, "verdict", "moved most, by %")
    for _, group in conclusions.group_by("workload", "guest", maintain_order=True):
        first = group.row(0, named=True)
        title = (
            f"{first['workload']} on {first['guest']} ({first['vcpus']} vCPU, {first['memory_mib']} MiB): elapsed time "
            f"against {baseline}, {counted(first['replicates'], 'replicate')}"
        )
        rows = tuple(_conclusion_row(row, sampled=sampled) for row in group.iter_rows(named=True))
        yield Sheet(title=title, header=header, rows=rows)


def _conclusion_row(row: dict[str, Any], *, sampled: bool) -> tuple[str, ...]:
    if row["verdict"] in DEAD:
        return (shortened(row["policy"], _NAME_WIDTH), *["-"] * (4 if sampled else 2), row["verdict"], "-")
    costs = (interval(row["cost_low"], row["cost_high"]), _share(row["verdict_stays"])) if sampled else ()
    moves = row["moved_most_by"] is not None and row["moved_percent"] >= _SHOWN_PERCENT
    moved = f"{_short(row['moved_most_by'])} {row['moved_percent']:.2f}" if moves else "-"
    return (
        shortened(row["policy"], _NAME_WIDTH),
        signed(row["difference_percent"]),
        interval(row["difference_low"], row["difference_high"]),
        *costs,
        row["verdict"],
        moved,
    )


def tornado_sheet(tornado: pl.DataFrame) -> Sheet:
    """Return one row per uncertain number that matters: how far it moves a difference, where, and what it decides."""
    several = tornado["workload"].n_unique() > 1
    place = (
        pl.format("{} on {}, {}", "policy", "guest", "workload")
        if several
        else pl.format("{} on {}", "policy", "guest")
    )
    ranked = (
        tornado.sort("change", descending=True, maintain_order=True)
        .with_columns(place=place)
        .group_by("cost", maintain_order=True)
        .agg(
            pl.col("low", "value", "high", "change", "place").first(), decided=pl.col("place").filter(pl.col("decides"))
        )
    )
    count = tornado.select("workload", "guest", "policy").unique().height
    longest = float(ranked.select(pl.col("change").max()).item() or 1.0)
    shown = ranked.filter((pl.col("change") >= _SHOWN_PERCENT) | (pl.col("decided").list.len() > 0))
    rows = tuple(_tornado_row(row, longest=longest) for row in shown.iter_rows(named=True))
    title = (
        "no cost of this model has a range, or no policy a time: there is nothing to vary"
        if tornado.is_empty()
        else (
            f"each cost alone from low to high: by how much it moves the difference that it moves most, and which of "
            f"{count} verdicts it decides"
        )
    )
    idle = ranked.height - shown.height
    title += f"; {idle} more move{'s' if idle == 1 else ''} nothing (less than {_SHOWN_PERCENT} %)" if idle else ""
    header = ("cost", "", "moves %", "low", "value", "high", "decides", "for example")
    return Sheet(title=title, header=header, rows=rows, left=2)


def _tornado_row(row: dict[str, Any], *, longest: float) -> tuple[str, ...]:
    decided = row["decided"]
    first = decided[0] if decided else row["place"]
    return (
        row["cost"],
        "█" * round(_BAR_WIDTH * row["change"] / longest) or "▏",
        f"{row['change']:.2f}",
        *(f"{row[name]:g}" for name in ("low", "value", "high")),
        str(len(decided)) if decided else "-",
        shortened(first, _PLACE_WIDTH) + (", …" if len(decided) > 1 else ""),
    )


def _short(cost: str) -> str:
    return cost.removeprefix("shadow.")


def _share(value: float) -> str:
    """Return a share in %, and never 100 % where it is a little less."""
    return f"{min(100.0 * value, 99.9):.1f} %" if value < 1.0 else "100 %"
