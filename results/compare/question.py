"""Comparisons as users ask for them: names and texts in, tables out, sensible where nothing is said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final

import polars as pl

from results.compare.compare import Baseline, Comparison, TableLayout, compare_cells
from results.compare.dimensions import Dimensions, default_orders, dimensions_of, guest_order, parse_condition
from results.compare.measures import measure_named, measured_cells
from results.compare.without_effect import idle_notes
from results.prices.cost_model import CostModel
from results.statistics.pairing import ComparisonError
from results.statistics.sequential import rule_of
from results.statistics.verdicts import MINIMUM_EFFECT
from results.store.labels import LabelledRun
from results.wording import counted

_LABELS: Final = ("workload", "guest")
_NAMED: Final = MappingProxyType({"policies": ("name", "knobs"), "workloads": ("label", "parameters")})
"""Section of a specification -> the keys under which its entries have a name and what that stands for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked; what is left empty follows from the runs.

    Attributes:
        metrics: names of measures, a table each.
        rows, cols: dimensions; by default workloads and guests in rows, and policies, or runs, in columns.
        baseline: a policy, or `DIMENSION=VALUE`; by default the baseline of the sweep, or the first of two runs.
        where: conditions such as `guest=1cpu-1g`.
        minimum_effect: differences up to this, in %, are no difference.
    """

    metrics: tuple[str, ...] = ("elapsed",)
    rows: tuple[str, ...] = ()
    cols: tuple[str, ...] = ()
    baseline: str | None = None
    where: tuple[str, ...] = ()
    minimum_effect: float = MINIMUM_EFFECT


def compare_runs(runs: Sequence[LabelledRun], question: Question, costs: CostModel | None) -> list[Comparison]:
    """Return one table per metric, of one run or of the second run against the first.

    Raises:
        ComparisonError: a name is none, no cell is left, or cells cannot be paired.
    """
    if len({run.name for run in runs}) < len(runs):
        raise ComparisonError(f"{runs[0].name} against itself differs in nothing: give two runs")
    measures = [measure_named(name) for name in question.metrics]
    frames = [measured_cells(run, measures, costs).with_columns(run=pl.lit(run.name, dtype=pl.String)) for run in runs]
    cells = pl.concat(frames)
    if any(frame.is_empty() for frame in frames):
        empty = next(run.name for run, frame in zip(runs, frames, strict=True) if frame.is_empty())
        raise ComparisonError(f"{empty}: no cell is finished yet; run the sweep first")
    dimensions = dimensions_of({run.name: run.spec for run in runs})
    layout = _layout(cells, dimensions, question, runs)
    orders = {**default_orders([run.spec for run in runs], [run.name for run in runs]), "guest": guest_order(cells)}
    notes = idle_notes(runs[0]) if len(runs) == 1 else _two_runs(runs, frames)
    unlike = _changed(runs, "workloads") if len(runs) == 2 else ()
    rules = [rule_of(run.spec, minimum_effect=question.minimum_effect) for run in runs]
    strictest = min(rules, key=attrgetter("error"))
    tables = []
    for measure in measures:
        rule = replace(strictest, lower_is_better=not measure.is_more_better)
        table = compare_cells(
            cells, dimensions, layout=layout, measure=measure, rule=rule, orders=orders, notes=notes, unlike=unlike
        )
        tables.append(table)
    return tables


def _layout(
    cells: pl.DataFrame, dimensions: Dimensions, question: Question, runs: Sequence[LabelledRun]
) -> TableLayout:
    """Return the table that is asked for."""
    baseline = _baseline(dimensions, question.baseline, runs)
    cols = tuple(dimensions.checked(name) for name in question.cols) or (baseline.dimension,)
    default = ("policy", *_LABELS) if len(runs) == 2 else _LABELS
    several = [name for name in default if cells[name].n_unique() > 1 and name not in cols]
    rows = tuple(dimensions.checked(name) for name in question.rows)
    if not rows:
        taken = {dimensions.families[name] for name in cols}
        rows = tuple(name for name in several if name not in taken) or tuple(n for n in _LABELS if n not in taken)
    where = tuple(parse_condition(text, dimensions) for text in question.where)
    return TableLayout(rows=rows, cols=cols, baseline=baseline, where=where)


def _baseline(dimensions: Dimensions, given: str | None, runs: Sequence[LabelledRun]) -> Baseline:
    """Return the baseline that is asked for: a policy's name may hold `=`, so a dimension must come before it."""
    if given is None:
        if len(runs) > 1:
            return Baseline(dimension="run", value=runs[0].name)
        if "baseline" not in runs[0].spec:
            raise ComparisonError(f"{runs[0].name}: its specification names no baseline. Give one")
        return Baseline(dimension="policy", value=runs[0].spec["baseline"])
    name, sign, value = given.partition("=")
    if sign and " " not in name and not given.startswith("+"):
        return Baseline(dimension=dimensions.checked(name), value=value)
    return Baseline(dimension="policy", value=given)


def _two_runs(runs: Sequence[LabelledRun], frames: Sequence[pl.DataFrame]) -> list[str]:
    """Return what is different about two runs beside their cells."""
    notes = []
    first, second = runs
    if first.engine != second.engine:
        notes.append(
            f"the code differs: {first.name} was made by {first.engine[:12]}, {second.name} by {second.engine[:12]}"
        )
    notes += [
        f"{key} differs: {first.spec[key]} in {first.name}, {second.spec[key]} in {second.name}"
        for key in ("seed", "window_ns")
        if key in first.spec and first.spec[key] != second.spec.get(key)
    ]
    knobs = _changed(runs, "policies")
    notes += [f"policies with other knobs under the same name: {', '.join(knobs)}"] if knobs else []
    keys = ["policy", "workload", "guest", "replicate"]
    for run, mine, other in ((first, frames[0], frames[1]), (second, frames[1], frames[0])):
        alone = mine.join(other, on=keys, how="anti").height
        if alone:
            notes.append(f"{counted(alone, 'cell is', 'cells are')} in {run.name} only")
    return notes


def _changed(runs: Sequence[LabelledRun], section: str) -> tuple[str, ...]:
    """Return the names in a section of the specifications that stand for something else in the second run."""
    here, there = (_contents(run.spec, section) for run in runs)
    return tuple(name for name in here if name in there and here[name] != there[name])


def _contents(spec: Mapping[str, Any], section: str) -> dict[str, Any]:
    label, content = _NAMED[section]
    return {one[label]: one.get(content) for one in spec.get(section, ()) if isinstance(one, Mapping)}
