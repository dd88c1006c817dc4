"""Which guest activity the difference of two policies comes from: counts and cycles of each."""

from fractions import Fraction
from typing import Final

import polars as pl

from results.explain.explain import Pair, cycles_each, side_counts
from results.prices.cost_model import CostModel
from results.statistics.pairing import ComparisonError
from results.store.labels import LabelledRun

NO_ACTIVITIES: Final = (
    "this run says nothing about the guest's activities: it was made before they were counted. Run its sweep again "
    "with this version of the program (`sweep run`, into another folder if the old counts are to stay)"
)


def explain_activities(run: LabelledRun, costs: CostModel, pair: Pair) -> pl.DataFrame:
    """Return one row per activity and counter: counts of both sides, and the cycles by which they differ.

    Columns: activity, line (a counter that has a price, or any that is in `exits`), count, count_baseline, cycles; all
    replicates added. `cycles` is a whole number if all prices are, and adds up over activities to the line's cycles.

    Raises:
        ComparisonError: the run has no activities, or they do not add up to its cells.
    """
    found = side_counts(run.scan("activities"), pair, by=("activity",))
    if not found:
        raise ComparisonError(NO_ACTIVITIES)
    whole = side_counts(run.scan("cells"), pair)[()]
    rows = []
    for counter in dict.fromkeys(["exits", *costs.counters()]):
        for sign in (1, -1):
            added = sum(sides[sign][counter] for sides in found.values() if sign in sides)
            if added != whole[sign][counter]:
                raise ComparisonError(
                    f"{counter}: the activities add up to {added}, the cells to {whole[sign][counter]}. "
                    "The run is damaged: see `sweep fsck`"
                )
        each = {sign: cycles_each(counter, costs, whole[sign]["host_paging"]) for sign in (1, -1)}
        for (activity,), sides in found.items():
            ours, theirs = (sides[sign][counter] if sign in sides else 0 for sign in (1, -1))
            if ours or theirs:
                rows.append((activity, counter, ours, theirs, ours * each[1] - theirs * each[-1]))
    is_whole = all(row[-1].denominator == 1 for row in rows)
    cycles = pl.Series("cycles", [plain(row[-1]) for row in rows], dtype=pl.Int64 if is_whole else pl.Float64)
    types = {"activity": pl.String, "line": pl.String, "count": pl.Int64, "count_baseline": pl.Int64}
    return pl.DataFrame([row[:-1] for row in rows], schema=types, orient="row").with_columns(cycles)


def plain(value: Fraction) -> int | float:
    """Return a rational number as an integer if it is one, else as the nearest double."""
    return value.numerator if value.denominator == 1 else float(value)
