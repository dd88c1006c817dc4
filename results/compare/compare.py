"""Tables of one metric over any two sets of dimensions, each cell beside the baseline's on the same traces.

A table cell is a mean over replicates. Its difference is paired: cell by cell with the baseline's cell that agrees in
everything else, then averaged per replicate over whatever else the table cell holds, then judged over replicates.
`results.statistics.verdicts` judges all table cells as one family. docs/how-to/compare.md shows how to read it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from results.compare.dimensions import LABELS, Condition, Dimensions, hidden_dimensions, ordered, spelled
from results.compare.measures import Measure
from results.statistics.geomean import geometric_means
from results.statistics.moments import difference_moments, interval_columns
from results.statistics.pairing import ComparisonError, check_traces
from results.statistics.verdicts import (
    Rule,
    Verdict,
    counted_deaths,
    death_sentences,
    relative_difference,
    verdict_columns,
)
from results.wording import counted

_VALUE: Final = "value"
_BASE: Final = "value_baseline"
_COMBINATION: Final = ("run", "policy", "workload", "guest")


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What is compared with: the cells with `value` in `dimension`."""

    dimension: str
    value: object

    def __str__(self) -> str:
        return spelled(self.value) if self.dimension in LABELS else f"{self.dimension}={spelled(self.value)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLayout:
    """Which dimensions a table has, what it compares with, and what it leaves out."""

    rows: tuple[str, ...]
    cols: tuple[str, ...]
    baseline: Baseline
    where: tuple[Condition, ...] = ()

    @property
    def shown(self) -> tuple[str, ...]:
        """Rows, then columns."""
        return (*self.rows, *(name for name in self.cols if name not in self.rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One table: a row of `cells` per table cell, a row of `geomean` per column, and what a reader must know."""

    measure: Measure
    layout: TableLayout
    rule: Rule
    cells: pl.DataFrame
    """Per table cell: rows, cols, value with value_low and value_high, replicates, difference_percent with
    difference_low, difference_high and difference_deviation (over replicates, in %), p_holm, verdict."""
    geomean: pl.DataFrame
    """cols, value, difference_percent, difference_low, difference_high of the numbers in `cells`; empty if there is one
    row only."""
    missing: pl.DataFrame
    """policy, workload, guest of the first of two runs of which the second has no cell."""
    deaths: pl.DataFrame
    """run, policy, workload, guest, `dies` and `replicates` of each place of the table in which the host dies."""
    unlike: tuple[str, ...]
    """Labels of workloads that have other parameters in the second of two runs."""
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def compare_cells(
    cells: pl.DataFrame,
    dimensions: Dimensions,
    *,
    layout: TableLayout,
    measure: Measure,
    rule: Rule,
    orders: Mapping[str, Sequence[object]],
    notes: Sequence[str] = (),
    unlike: Sequence[str] = (),
) -> Comparison:
    """Return the table of `measure`; `cells` has its column, coordinates, and `run`. `notes` go in front of its own.

    `unlike` names workloads that are not the same in both runs.

    Raises:
        ComparisonError: no cell is left, no cell has the baseline, or a pair met different traces for no good reason.
    """
    names = [*layout.shown, layout.baseline.dimension, *(condition.dimension for condition in layout.where)]
    known = dimensions.attach(cells, names).with_columns(pl.when(~pl.col("dies")).then(measure.name).alias(_VALUE))
    kept = _filtered(known, dimensions, layout)
    paired, found = _paired(kept, dimensions, layout)
    missing = _missing(kept, layout)
    labels = kept["workload"].unique()
    compared_unlike = tuple(label for label in unlike if label in labels)
    whole, said = _complete(paired, layout)
    found += said
    per_replicate = (
        whole.with_columns(_difference=relative_difference(_VALUE, _BASE))
        .group_by(*dict.fromkeys((*layout.shown, "replicate")), maintain_order=True)
        .agg(
            pl.col(_VALUE, "_difference").mean(),
            pl.col("dies", "dies_baseline").any(),
            _is_baseline=pl.col("_is_baseline").all(),
        )
    )
    deaths = counted_deaths(whole, _COMBINATION)
    table = ordered(_judged(per_replicate, layout, rule), layout.shown, orders)
    geomean = geometric_means(per_replicate, table, rows=layout.rows, cols=layout.cols, error=rule.error)
    return Comparison(
        measure=measure,
        layout=layout,
        rule=rule,
        cells=table,
        geomean=ordered(geomean, layout.cols, orders),
        missing=missing,
        deaths=deaths,
        unlike=compared_unlike,
        notes=(*notes, *found),
        warnings=(
            *_death_warnings(deaths, table, layout),
            *(f"workload {label} has other parameters in the second run: not comparable" for label in compared_unlike),
            *hidden_dimensions(whole, dimensions, rows=layout.rows, shown=layout.shown),
        ),
    )


def _filtered(cells: pl.DataFrame, dimensions: Dimensions, layout: TableLayout) -> pl.DataFrame:
    """Return the cells that the conditions keep, and cells of the baseline that only those on its own family drop.

    Which of the latter are there to be paired with, `_paired` knows: they are not `_asked` for.
    """
    families = dimensions.families
    own = families[layout.baseline.dimension]
    is_baseline = _is_baseline(cells, layout.baseline)
    if not is_baseline.any():
        found = cells[layout.baseline.dimension].unique(maintain_order=True).to_list()
        raise ComparisonError(
            f"no cell has the baseline {layout.baseline.dimension}={spelled(layout.baseline.value)}. "
            f"There are: {', '.join(spelled(value) for value in found)}"
        )
    masks = [(condition, condition.keeps(cells[condition.dimension])) for condition in layout.where]
    strict = [mask for condition, mask in masks if families[condition.dimension] != own]
    loose = [mask | pl.col("_is_baseline") for condition, mask in masks if families[condition.dimension] == own]
    asked = pl.all_horizontal(True, *(mask for _, mask in masks))
    kept = cells.with_columns(_is_baseline=is_baseline, _asked=asked).filter(*strict, *loose)
    if kept.is_empty():
        raise ComparisonError("no cell is left: each --where keeps some cells, but no cell meets all of them")
    return kept


def _is_baseline(cells: pl.DataFrame, baseline: Baseline) -> pl.Series:
    text = cells[baseline.dimension].to_list()
    values = {value: spelled(value) == spelled(baseline.value) for value in set(text)}
    return pl.Series([values[value] for value in text], dtype=pl.Boolean)


def _paired(cells: pl.DataFrame, dimensions: Dimensions, layout: TableLayout) -> tuple[pl.DataFrame, list[str]]:
    """Return the cells with the baseline's value beside their own, null where the baseline has no such cell."""
    dimension = layout.baseline.dimension
    own = dimensions.families[dimension]
    finer = [] if dimension == own else [n for n in dimensions.finer(own) if n != dimension]
    keys = [*(label for label in LABELS if label != own), *finer]
    complete = _without_loners(dimensions.attach(cells, finer), keys, also_asked=bool(finer))
    base = complete.filter("_is_baseline").select(*keys, "trace_digest", own, _VALUE, "dies")
    twins = base.filter(pl.struct(keys).is_duplicated())
    if twins.height:
        found = ", ".join(spelled(value) for value in twins[own].unique().sort().to_list())
        raise ComparisonError(
            f"baseline {layout.baseline}: several cells to pair with ({own}: {found}). Give one {own}"
        )
    paired = complete.join(base, on=keys, how="left", suffix="_baseline", nulls_equal=True, maintain_order="left")
    if own == "policy":
        check_traces(paired, layout.baseline)
    other_trace = paired.filter(pl.col("trace_digest") != pl.col("trace_digest_baseline"))
    notes = []
    if other_trace.height and own == "run":
        notes.append(
            f"{other_trace.height} of {paired.filter(~pl.col('_is_baseline')).height} pairs met different traces: what "
            "makes traces differs between the runs, and intervals hold that as well"
        )
    elif other_trace.height:
        notes.append(f"cells that differ in {own} meet different traces: intervals hold how traces vary")
    alone = paired.filter(pl.col("dies_baseline").is_null()).height
    if alone:
        notes.append(
            f"{counted(alone, 'cell has', 'cells have')} no cell of the baseline to be paired with: no difference"
        )
    return paired, notes


def _without_loners(cells: pl.DataFrame, keys: Sequence[str], *, also_asked: bool) -> pl.DataFrame:
    """Return the cells without those of the baseline that nobody is paired with.

    One that was asked for stays where the baseline is a label, and goes where it is one of many values behind labels:
    `flood_threshold=3` means the policies that others differ from in that alone, not all that happen to have it.
    """
    partners = cells.filter(pl.col("_asked") & ~pl.col("_is_baseline"))
    if partners.is_empty():
        return cells
    can_go = pl.col("_is_baseline") if also_asked else ~pl.col("_asked")
    needed = cells.filter(can_go).join(partners, on=keys, how="semi", nulls_equal=True)
    return pl.concat([cells.filter(~can_go), needed])


def _missing(cells: pl.DataFrame, layout: TableLayout) -> pl.DataFrame:
    keys = [label for label in _COMBINATION if label != "run"]
    known = cells.select(*keys, "_is_baseline").unique(maintain_order=True)
    if layout.baseline.dimension != "run":
        return known.select(keys).clear()
    there = known.filter(~pl.col("_is_baseline"))
    return known.filter("_is_baseline").join(there, on=keys, how="anti", maintain_order="left").select(keys)


def _complete(cells: pl.DataFrame, layout: TableLayout) -> tuple[pl.DataFrame, list[str]]:
    """Return the cells of the replicates that all combinations in their table cell have, and what is to be said of it.

    Each combination of labels stays: a mean over some of them would be that of other guests or policies.
    """
    if "replicate" in layout.shown:
        return cells, []
    combination = pl.struct(label for label in _COMBINATION if label not in layout.shown).n_unique()
    everywhere = combination.over(*layout.shown, "replicate") == combination.over(layout.shown)
    whole = cells.filter(everywhere)
    left_out = cells.height - whole.height
    if not left_out:
        return cells, []
    empty = cells.join(whole, on=list(layout.shown), how="anti", nulls_equal=True).select(layout.shown).unique().height
    if whole.is_empty():
        raise ComparisonError(
            "no table cell has a replicate that all it is a mean over have. Give workload and guest with --rows"
        )
    note = (
        f"{left_out} cells are left out: a mean over several guests or policies takes the replicates that all of them "
        "have. --rows workload,guest uses every replicate"
    )
    lost = f"{empty} table cells are missing: what they are a mean over has no replicate in common"
    return whole, [note, lost] if empty else [note]


def _death_warnings(deaths: pl.DataFrame, table: pl.DataFrame, layout: TableLayout) -> list[str]:
    """Return where the host dies, and what there is no comparison and no geometric mean of because of that."""
    warnings = death_sentences(deaths)
    if (table["verdict"] == Verdict.BASELINE_DIES).any():
        warnings.append(f"the baseline {layout.baseline} is among them: nothing can be compared with it there")
    if deaths.height and layout.rows and table.select(layout.rows).n_unique() > 1:
        warnings.append("geometric means leave out each column in which the host dies somewhere")
    return warnings


def _judged(per_replicate: pl.DataFrame, layout: TableLayout, rule: Rule) -> pl.DataFrame:
    by = list(layout.shown)
    moments = difference_moments(per_replicate, "_difference", by)
    spread = interval_columns(per_replicate, _VALUE, by, error=rule.error).select(
        *by, value_low="low", value_high="high"
    )
    values = per_replicate.group_by(by, maintain_order=True).agg(
        pl.col(_VALUE).mean(),
        pl.col("dies", "dies_baseline").any(),
        replicates=pl.len(),
        _is_baseline=pl.col("_is_baseline").all(),
    )
    values = values.join(spread, on=by, nulls_equal=True, maintain_order="left")
    judged = verdict_columns(
        values.join(moments, on=by, nulls_equal=True),
        rule,
        baseline=pl.col("_is_baseline"),
        dies=pl.col("dies"),
        baseline_dies=pl.col("dies_baseline"),
    )
    shown = pl.when(~pl.col("_is_baseline"))
    return judged.select(
        *by,
        pl.when(~pl.col("dies")).then(pl.col(_VALUE, "value_low", "value_high")),
        "replicates",
        difference_percent=shown.then("mean"),
        difference_low=shown.then("low"),
        difference_high=shown.then("high"),
        difference_deviation=shown.then("deviation"),
        p_holm="p_holm",
        verdict="verdict",
    )
