"""Conditions under which a comparison is bad news for a script: `regress>2%` and its relatives.

A condition is judged like a verdict: sure for all cells of the table together, with the condition's percentage as the
minimum effect. So `regress>2%` holds where a cell is surely worse by more than 2 %, not where its mean happens to be.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import polars as pl

from results.compare import Comparison
from results.compare_dimensions import spelled
from results.pairing import ComparisonError
from results.render import interval, signed
from results.verdicts import VERDICTS, Verdict, judge

_GATE: Final = re.compile(r"\s*(\w+)\s*>\s*(\d+(?:\.\d+)?)\s*%\s*")
KINDS: Final = {
    "regress": (Verdict.WORSE,),
    "improve": (Verdict.BETTER,),
    "change": (Verdict.WORSE, Verdict.BETTER),
    "unsure": (Verdict.OPEN,),
}
"""Word of a condition -> the verdicts that meet it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One condition: a kind of change, and from which size on."""

    kind: str
    percent: float

    def __str__(self) -> str:
        return f"{self.kind}>{self.percent:g}%"


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A table cell that meets a condition."""

    gate: Gate
    metric: str
    place: dict[str, Any]
    row: dict[str, Any]

    @property
    def text(self) -> str:
        """What was found and where, on one line."""
        where = ", ".join(f"{name} {spelled(value)}" for name, value in self.place.items())
        low, high = self.row["difference_low"], self.row["difference_high"]
        found = f"{signed(self.row['difference_percent'])} % {interval(low, high)}"
        return f"--fail-on {self.gate}: {self.metric}, {where}: {found}, {self.row['replicates']} replicates"

    def content(self) -> dict[str, Any]:
        """Return the breach as plain values for JSON."""
        return {"condition": str(self.gate), "metric": self.metric, **self.place, "text": self.text}


def parse_gate(text: str) -> Gate:
    """Return the condition that `text` states, such as `regress>2%`.

    Raises:
        ComparisonError: it states none.
    """
    match = _GATE.fullmatch(text)
    if match is None or match[1] not in KINDS:
        raise ComparisonError(
            f"--fail-on '{text}': expected WORD>NUMBER%, as in 'regress>2%'. Words: {', '.join(KINDS)}. "
            "Quote it: the shell takes > for itself"
        )
    return Gate(kind=match[1], percent=float(match[2]))


def breaches(tables: Sequence[Comparison], gates: Sequence[Gate]) -> list[Breach]:
    """Return the cells that meet a condition, in the order of tables, conditions and rows.

    Raises:
        ComparisonError: no cell of a table can be judged, so that a condition could never be met.
    """
    found = []
    for table in tables if gates else ():
        compared = table.cells.filter(pl.col("verdict") != Verdict.BASELINE)
        if compared.filter(pl.col("difference_deviation").is_not_null()).is_empty():
            raise ComparisonError(
                f"--fail-on: no difference of {table.measure.name} has two replicates, so nothing can be sure. Give "
                "the sweep more replicates; `sweep diff` says whether two runs are equal"
            )
        for gate in gates:
            found += _breaches(table, compared, gate)
    return found


def _breaches(table: Comparison, compared: pl.DataFrame, gate: Gate) -> list[Breach]:
    judged = judge(
        compared["difference_percent"].cast(pl.Float64).fill_null(np.nan).to_numpy(),
        compared["difference_deviation"].cast(pl.Float64).fill_null(0.0).to_numpy(),
        compared.select(pl.when(pl.col("difference_deviation").is_null()).then(1).otherwise("replicates"))
        .to_series()
        .cast(pl.Int64)
        .to_numpy(),
        replace(table.rule, minimum_effect=gate.percent),
    )
    met = [VERDICTS[code] in KINDS[gate.kind] for code in judged.code]
    return [
        Breach(
            gate=gate,
            metric=table.measure.name,
            place={name: row[name] for name in table.layout.shown},
            row=row,
        )
        for row, broken in zip(compared.iter_rows(named=True), met, strict=True)
        if broken
    ]
