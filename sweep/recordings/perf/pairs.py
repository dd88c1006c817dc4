"""Makes one operation of two lines of `perf script` text: entry and return of a call, and both lines of an exec."""

from typing import Final

import polars as pl

from engine.vocabulary import Operation
from sweep.recordings.perf.events import ENTRIES, EXEC, EXIT, NEW_IMAGE, RETURNS, Fate

_SECOND_OF: Final = {**dict(zip(ENTRIES, RETURNS, strict=True)), NEW_IMAGE: EXEC}
_FIRST_ERROR: Final = 2**64 - 4095
"""A call that failed returns a number from -4095 to -1, Linux 6.1 include/linux/err.h, MAX_ERRNO."""


class Pairs:
    """Joins lines block by block; what it remembers grows with the number of threads."""

    def __init__(self) -> None:
        """Start with no line that waits for its second."""
        self._waiting: pl.DataFrame | None = None
        self.unanswered = 0
        """Entries of calls whose return was not seen so far."""

    def join(self, lines: pl.DataFrame) -> pl.DataFrame:
        """Make one operation of two lines that belong together: entry and return of a call, or both lines of an exec.

        A thread does one such thing at a time. So two lines belong together if no other line of these events stands
        between them in their thread. A call is an operation at its return, an exec at its first line.
        """
        is_paired = pl.col("event").is_in([*_SECOND_OF, *_SECOND_OF.values(), EXIT])
        is_paired &= pl.col("fate") != Fate.TIME_BACKWARDS
        pairs = lines.filter(is_paired)
        if self._waiting is not None:
            pairs = pl.concat([self._waiting, pairs])
        pairs = pairs.sort("tid", maintain_order=True)
        is_begun = pl.col("event").is_in(list(_SECOND_OF)) & (pl.col("fate") == Fate.OPERATION)
        is_last = pl.col("tid").ne_missing(pl.col("tid").shift(-1))
        self._waiting = pairs.filter(is_last & is_begun).with_columns(line=pl.lit(0, pairs.schema["line"]))
        event = pl.col("event").cast(pl.String)
        begun = pl.when(is_begun).then(event.replace_strict(_SECOND_OF, default=None))
        is_of_same = pl.col("tid") == pl.col("tid").shift()
        pairs = pairs.with_columns(
            ends=(is_of_same & (begun.shift() == event)).fill_null(value=False),
            **{f"given_{name}": pl.col(name).shift() for name in ("address", "length", "flags")},
        )
        pairs = self._answered(pairs.filter(pl.col("line") > 0)).select(lines.columns)
        return pl.concat([lines.filter(~is_paired), pairs]).sort("line")

    def _answered(self, pairs: pl.DataFrame) -> pl.DataFrame:
        """Complete the returns of calls; their entries, and the second line of an exec, are nothing of their own."""
        is_sound = pl.col("fate") == Fate.OPERATION
        is_entry, is_return = (pl.col("event").is_in(names) for names in (ENTRIES, RETURNS))
        entries, returns = pairs.select((is_entry & is_sound).sum(), ends=(is_return & pl.col("ends")).sum()).row(0)
        self.unanswered += entries - returns
        is_return &= is_sound
        is_remap = pl.col("kind") == Operation.REMAP
        return pairs.with_columns(
            fate=pl.when(is_sound & (is_entry | (pl.col("event") == EXEC) & pl.col("ends")))
            .then(Fate.QUIET)
            .when(is_return & ~pl.col("ends"))
            .then(Fate.RETURN_ONLY)
            .when(is_return & (pl.col("address") >= _FIRST_ERROR))
            .then(Fate.FAILED_CALL)
            .otherwise("fate")
            .cast(pl.UInt8),
            address=pl.when(is_return & is_remap).then("given_address").otherwise("address"),
            length=pl.when(is_return).then("given_length").otherwise("length"),
            flags=pl.when(is_return).then("given_flags").otherwise("flags"),
        )
