"""Conditions under which a comparison is bad news for a script: `regress>2%` and its relatives.

A condition is judged like a verdict: sure for all cells of the table together, with the condition's percentage as the
minimum effect. So `regress>2%` holds where a cell is surely worse by more than 2 %, not where its mean happens to be.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import polars as pl

from results.compare.compare import Comparison
from results.compare.dimensions import spelled
from results.render import interval, signed
from results.statistics.pairing import ComparisonError
from results.statistics.verdicts import DEAD, DEATH_PLACE, VERDICTS, Verdict, death_found, judge
from results.wording import counted

_GATE: Final = re.compile(r"\s*(\w+)\s*>\s*(\d+(?:\.\d+)?)\s*%\s*")
KINDS: Final = {
    "regress": (Verdict.WORSE,),
    "improve": (Verdict.BETTER,),
    "change": (Verdict.WORSE, Verdict.BETTER),
    "unsure": (Verdict.OPEN,),
}
"""Word of a condition -> the verdicts that meet it."""
MISSING: Final = "missing"
"""Condition that every other one brings along: the second run lacks what the first one has."""
DIES: Final = str(Verdict.DIES)
"""Another such condition: the host dies under a policy that is compared, or under the baseline."""
_PLAIN: Final = (MISSING, DIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One condition: a kind of change, and from which size on."""

    kind: str
    percent: float

    def __str__(self) -> str:
        return self.kind if self.kind in _PLAIN else f"{self.kind}>{self.percent:g}%"


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A place that meets a condition."""

    condition: str
    metric: str
    place: dict[str, Any]
    found: str

    @property
    def text(self) -> str:
        """What was found and where, on one line."""
        where = ", ".join(f"{name} {spelled(value)}" for name, value in self.place.items())
        return f"--fail-on {self.condition}: {self.metric}, {where}: {self.found}"

    def content(self) -> dict[str, Any]:
        """Return the breach as plain values for JSON."""
        return {"condition": self.condition, "metric": self.metric, **self.place, "text": self.text}


def parse_gate(text: str) -> Gate:
    """Return the condition that `text` states, such as `regress>2%`, `missing` or `dies`.

    Raises:
        ComparisonError: it states none.
    """
    if text.strip() in _PLAIN:
        return Gate(kind=text.strip(), percent=0.0)
    match = _GATE.fullmatch(text)
    if match is None or match[1] not in KINDS:
        raise ComparisonError(
            f"--fail-on '{text}': expected WORD>NUMBER%, as in 'regress>2%', or {' or '.join(_PLAIN)}. "
            f"Words: {', '.join(KINDS)}. "
            "Quote it: the shell takes > for itself"
        )
    return Gate(kind=match[1], percent=float(match[2]))


def breaches(tables: Sequence[Comparison], gates: Sequence[Gate]) -> list[Breach]:
    """Return what meets a condition, in the order of tables, conditions and rows; first what has no number at all.

    Raises:
        ComparisonError: no cell of a table can be judged, so that a condition could never be met, or workloads of two
            runs have a name in common and nothing else.
    """
    found: list[Breach] = []
    for table in tables if gates else ():
        if table.unlike:
            raise ComparisonError(
                f"--fail-on: {', '.join(table.unlike)}: the two runs have other parameters of it under this name, so a "
                "difference says nothing about policies. Compare runs of one sweep, or leave it out with "
                f"--where 'workload!={table.unlike[0]}'"
            )
        found += _missing(table)
        found += _deaths(table)
        compared = table.cells.filter(~pl.col("verdict").is_in([Verdict.BASELINE, *DEAD]))
        judging = [gate for gate in gates if gate.kind not in _PLAIN]
        if judging and not found and compared["difference_deviation"].is_null().all():
            raise ComparisonError(
                f"--fail-on: no difference of {table.measure.name} has two replicates, so nothing can be sure. Give "
                "the sweep more replicates; `sweep diff` says whether two runs are equal"
            )
        for gate in judging:
            found += _breaches(table, compared, gate)
    return found


def _missing(table: Comparison) -> list[Breach]:
    text = "only in the first run, so it was not compared. Finish the second one, or leave it out with --where"
    return [
        Breach(condition=MISSING, metric=table.measure.name, place=row, found=text)
        for row in table.missing.iter_rows(named=True)
    ]


def _deaths(table: Comparison) -> list[Breach]:
    several = table.deaths["run"].n_unique() > 1 or table.layout.baseline.dimension == "run"
    place = ("run", *DEATH_PLACE) if several else DEATH_PLACE
    return [
        Breach(
            condition=DIES,
            metric=table.measure.name,
            place={name: row[name] for name in place},
            found=f"{death_found(row)}, so there is no number to compare",
        )
        for row in table.deaths.iter_rows(named=True)
    ]


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
            condition=str(gate),
            metric=table.measure.name,
            place={name: row[name] for name in table.layout.shown},
            found=_change(row),
        )
        for row, broken in zip(compared.iter_rows(named=True), met, strict=True)
        if broken
    ]


def _change(row: Mapping[str, Any]) -> str:
    bounds = interval(row["difference_low"], row["difference_high"])
    return f"{signed(row['difference_percent'])} % {bounds}, {counted(row['replicates'], 'replicate')}"
