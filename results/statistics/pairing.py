"""Cells in pairs: a policy's cell beside the baseline's of the same replicate, which must have met the same trace."""

from collections.abc import Sequence
from typing import Final

import polars as pl

PLACE: Final = ("workload", "guest", "replicate")
"""What the two cells of a pair have in common."""


class ComparisonError(ValueError):
    """Cells that should be compared are not there, or did not meet the same trace."""


def check_baseline(baseline: str, found: Sequence[str]) -> None:
    """Raise ComparisonError unless `baseline` is among the policies that were found."""
    if not found:
        raise ComparisonError("no cell is finished yet; run the sweep first")
    if baseline not in found:
        raise ComparisonError(f"no cell has the baseline '{baseline}'. Policies of this run: {', '.join(found)}")


def pair_with(cells: pl.DataFrame, policy: str, values: Sequence[str]) -> pl.DataFrame:
    """Return the cells that have a cell of `policy` in the same place, with its `values` as `<name>_baseline`.

    Raises:
        ComparisonError: the cells of a replicate met different traces.
    """
    others = cells.filter(pl.col("policy") == policy).select(*PLACE, "trace_digest", *values)
    paired = cells.join(others, on=PLACE, suffix="_baseline", maintain_order="left")
    check_traces(paired, policy)
    return paired


def check_traces(paired: pl.DataFrame, baseline: object) -> None:
    """Raise ComparisonError if a cell and the one beside it, which is of `baseline`, met different traces."""
    wrong = paired.filter(pl.col("trace_digest") != pl.col("trace_digest_baseline"))
    if wrong.height:
        first = wrong.row(0, named=True)
        place = f"policy '{first['policy']}', workload '{first['workload']}', guest '{first['guest']}'"
        raise ComparisonError(
            f"{place}, replicate {first['replicate']}: trace {first['trace_digest']} is not the trace of '{baseline}' "
            f"({first['trace_digest_baseline']}). Pairs need the same trace: run both policies with the same code"
        )
