"""Tallies of exits: one row for all exits that did the same and took as long, with their number.

KVM's paths hardly scatter, so that a recording of any length has few different exits: tallies bound the memory.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

FEATURES: Final = (
    "spte", "pref", "get", "created", "zap", "zap_entries", "unsync", "syncp", "sync_entries", "pw", "emul", "rflush",
    "gflush", "root_hit", "root_miss",
)  # fmt: skip
"""What may happen in an exit, as counts: docs/how-to/measure-prices.md has their meaning."""
LENGTHS: Final = ("insn", "handler", "way_in", "way_out")
"""Instructions: of the whole exit, of the fault handler alone, before and after it; null where a recording has none.

Where the whole exit was measured `way_out` is all that is not the handler, the way in too.
"""
KEYS: Final = ("recording", "source", "exit", "path", "workload")
"""`source`: `exits` if the whole exit was measured, `events` if the fault handler was."""
SCHEMA: Final = {
    **dict.fromkeys(KEYS, pl.String),
    **dict.fromkeys(FEATURES, pl.Int64),
    **dict.fromkeys(LENGTHS, pl.Int64),
    "n": pl.Int64,
}
_PIECES: Final = 64
"""Tables that are added up at once: fewer are summed more often, more take more memory."""

Floats = npt.NDArray[np.float64]


def tally(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows with the columns of SCHEMA added up: equal ones once, with the sum of their `n`."""
    return rows.group_by([name for name in SCHEMA if name != "n"]).agg(pl.col("n").sum()).select(*SCHEMA)


def add_up(tables: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Return the tally of all tables, of which a few are in memory at a time."""
    held: list[pl.DataFrame] = []
    for table in tables:
        held.append(table)
        if len(held) == _PIECES:
            held = [tally(pl.concat(held))]
    return tally(pl.concat(held)) if held else pl.DataFrame(schema=SCHEMA)


def as_tally(rows: pl.DataFrame, *, recording: str, source: str) -> pl.DataFrame:
    """Return one row per exit as a tally; features that the rows do not have did not happen."""
    there = set(rows.columns)
    features = [pl.col(name).cast(pl.Int64) if name in there else pl.lit(0, pl.Int64).alias(name) for name in FEATURES]
    lengths = [pl.col(n).cast(pl.Int64) if n in there else pl.lit(None, pl.Int64).alias(n) for n in LENGTHS]
    words = [pl.col(name).cast(pl.String) for name in ("exit", "path", "workload")]
    named = rows.select(
        pl.lit(recording).alias("recording"), pl.lit(source).alias("source"), *words, *features, *lengths, n=pl.lit(1)
    )
    return tally(named.with_columns(pl.col("n").cast(pl.Int64)))


def quantiles(lengths: pl.Series, counts: pl.Series, at: Iterable[float]) -> Iterator[float]:
    """Yield quantiles of lengths that occur `counts` times each: the first length that so many reach."""
    order = lengths.arg_sort()
    sums = np.cumsum(counts.gather(order).to_numpy())
    for share in at:
        place = int(np.searchsorted(sums, share * sums[-1], side="left"))
        yield float(lengths[int(order[min(place, len(sums) - 1)])])
