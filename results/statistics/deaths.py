"""Where the host dies (BUG_ON): what was counted there after that never happened, so it gives no number."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import polars as pl

from results.summary import Tables

PLACE: Final = ("policy", "workload", "guest")
_PLACES_NAMED: Final = 3


def deaths_of(tables: Tables) -> pl.DataFrame:
    """Return policy, workload, guest, `dies` and `replicates` of each place in which the host dies, by name."""
    dying = tables.scan_cells().filter(pl.col("fatal") > 0).select(PLACE).unique().collect(engine="streaming")
    if dying.is_empty():
        return counted_deaths(dying.with_columns(dies=pl.lit(value=True)), PLACE)
    places = [pl.col(name).is_in(dying[name].unique().implode()) for name in PLACE]
    cells = tables.scan_cells().filter(*places).select(*PLACE, dies=pl.col("fatal") > 0)
    return counted_deaths(cells.collect(engine="streaming"), PLACE)


def counted_deaths(cells: pl.DataFrame, place: Sequence[str]) -> pl.DataFrame:
    """Return, per place in which a cell `dies`, how many do and how many there are."""
    counted = cells.group_by(place).agg(dies=pl.col("dies").sum().cast(pl.Int64), replicates=pl.len().cast(pl.Int64))
    return counted.filter(pl.col("dies") > 0).sort(place)


def death_found(row: Mapping[str, Any]) -> str:
    """Return in how many replicates of a place the host dies."""
    return f"the host dies in {row['dies']} of {row['replicates']} replicates"


def death_sentences(deaths: pl.DataFrame) -> list[str]:
    """Return a sentence per policy under which the host dies, with the first places of it."""
    sentences = []
    for (policy,), rows in deaths.group_by("policy", maintain_order=True):
        places = [
            f"{row['workload']} on {row['guest']} ({row['dies']} of {row['replicates']} replicates)"
            for row in rows.iter_rows(named=True)
        ]
        more = len(places) - _PLACES_NAMED
        named = "; ".join(places[:_PLACES_NAMED]) + (f"; and {more} more" if more > 0 else "")
        sentences.append(f"the host dies under {policy}: {named}. There are no numbers for it there")
    return sentences
