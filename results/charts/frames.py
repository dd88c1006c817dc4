"""What charts have in common: rows of some guests, labels in order, and numbers with few digits."""

from typing import Any, Final

import polars as pl

from results.ranked_run import is_dying
from results.summary import GROUP

DIGITS: Final = 6
"""Significant digits of the numbers in a chart; a screen shows three."""


def without_the_dying(rows: pl.DataFrame, summary: pl.DataFrame, *values: str) -> pl.DataFrame:
    """Return rows of a chart with a column `word`: where the host dies it says so, and all `values` are null."""
    place = ["workload", "guest", "policy"]
    dying = summary.filter(is_dying()).select(*place, word=pl.col("verdict"))
    marked = rows.join(dying, on=place, how="left", maintain_order="left")
    return marked.with_columns(pl.when(pl.col("word").is_null()).then(pl.col(values)))


def only(rows: pl.LazyFrame, groups: pl.DataFrame) -> pl.LazyFrame:
    """Return the rows of some workloads and guests; what is not asked for is not read."""
    wanted = groups.select("workload", "guest").unique(maintain_order=True)
    likely = [pl.col(name).is_in(wanted[name].unique(maintain_order=True).implode()) for name in wanted.columns]
    return rows.filter(*likely).join(wanted.lazy(), on=wanted.columns, how="semi")


def labels_of(rows: pl.DataFrame) -> list[str]:
    """Return the labels of the policies in `rows`, best first."""
    return rows.select("label", "rank").unique().sort("rank", "label")["label"].to_list()


def in_order(rows: pl.DataFrame, column: str) -> list[Any]:
    """Return the values of a column in the order in which they come."""
    return rows[column].unique(maintain_order=True).to_list()


def show_guests(summary: pl.DataFrame) -> pl.DataFrame:
    """Return one row per workload and guest, for the guests that stand for all: middle size, fewest and most vCPUs."""
    guests = summary.select(*GROUP, "panel", "size").unique(maintain_order=True)
    sizes = guests["memory_mib"].unique().sort()
    sized = guests.filter(pl.col("memory_mib") == sizes[(len(sizes) - 1) // 2])
    numbers = pl.col("vcpus")
    picked = sized.filter((numbers == numbers.min()) | (numbers == numbers.max()))
    return picked.unique(["workload", "vcpus"], keep="first", maintain_order=True)


def rounded(rows: pl.DataFrame, *columns: str) -> pl.DataFrame:
    """Return some columns with as many digits as a chart needs: what a chart does not show is not carried along."""
    return rows.select(*columns).with_columns(pl.selectors.float().round_sig_figs(DIGITS))
