"""`sweep compare`: one metric over any two sets of dimensions, each cell beside the baseline's on the same traces."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from sweep.commands.common import (
    AllowPartialOption,
    CostsOption,
    CsvOption,
    JsonOption,
    MarkdownOption,
    MinEffectOption,
    chosen_form,
    notices_about,
    print_answer,
    say_first,
    say_last,
)
from sweep.exit_codes import ExitCode, SweepError
from sweep.runs import open_store, results_errors
from sweep.spec.costs import cost_model_of

if TYPE_CHECKING:
    from results.compare.compare import Comparison
    from results.compare.gate import Breach
    from results.notices.notices import Notices

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_COLORS: Final = {"good": "green", "bad": "red", "warning": "yellow"}
_PIPE_COLUMNS: Final = 120
"""Width of tables that go into a file or another program."""


MetricOption = Annotated[
    list[str] | None,
    typer.Option("--metric", metavar="NAME", help="elapsed, a counter or a derived metric; may be repeated."),
]
WhereOption = Annotated[
    list[str] | None,
    typer.Option("--where", metavar="CONDITION", help="As guest=1cpu-1g, policy!=tdp or 'vcpus>=4'; repeatable."),
]
FailOnOption = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-on",
        metavar="CONDITION",
        help="As 'regress>2%': exit code 5 where a cell surely does, is missing in RUN2, or dies.",
    ),
]


@app.command()
def compare(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN [RUN2]", help="One run, or two: the second against the first.")
    ],
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", metavar="POLICY|DIM=VALUE", help="What to compare with; the sweep's if not given."),
    ] = None,
    rows: Annotated[
        str | None, typer.Option("--rows", metavar="DIM[,DIM]", help="Dimensions of the rows, as workload,guest.")
    ] = None,
    cols: Annotated[
        str | None, typer.Option("--cols", metavar="DIM[,DIM]", help="Dimensions of the columns, as policy or vcpus.")
    ] = None,
    metric: MetricOption = None,
    where: WhereOption = None,
    fail_on: FailOnOption = None,
    min_effect: MinEffectOption = None,
    costs: CostsOption = None,
    as_list: Annotated[bool, typer.Option("--list", help="A line per cell: interval, p-value, verdict.")] = False,
    pareto: Annotated[
        bool, typer.Option("--pareto", help="Which policies nobody beats in time, memory and exits at once.")
    ] = False,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    as_md: MarkdownOption = False,
    allow_partial: AllowPartialOption = False,
) -> None:
    """Compare one metric over any dimensions, in a run or between two, with verdicts.

    Differences are paired by replicate; verdicts hold for all cells of a table together.
    """
    form = chosen_form(as_json=as_json, as_csv=as_csv, as_md=as_md)
    if len(runs) > 2:
        raise SweepError(f"compare takes one run or two, found {len(runs)}. Compare them two by two")
    from results.compare.gate import breaches, parse_gate
    from results.compare.question import Question, compare_runs
    from results.run import Run
    from results.statistics.verdicts import MINIMUM_EFFECT

    if pareto:
        given = {"two runs": len(runs) > 1, "--baseline": baseline, "--rows": rows, "--cols": cols, "--where": where}
        _refuse_with_pareto(given | {"--fail-on": fail_on})
        _print_front(runs[0], metric, costs=costs, form=form, allow_partial=allow_partial)
        return
    stores = [open_store(run) for run in runs]
    notices = notices_about(*stores, costs=costs)
    with results_errors(*runs):
        gates = [parse_gate(text) for text in fail_on or ()]
        question = Question(
            metrics=tuple(metric or ("elapsed",)),
            rows=_names(rows),
            cols=_names(cols),
            baseline=baseline,
            where=tuple(where or ()),
            minimum_effect=MINIMUM_EFFECT if min_effect is None else min_effect,
        )
        # One price list for all runs, for a difference of prices is no difference of policies.
        tables = compare_runs([Run(store) for store in stores], question, cost_model_of(stores[-1], costs))
        found = breaches(tables, gates)
    text = _render(tables, form, found, notices, as_list=as_list)
    # A condition that is met is met whatever is missing.
    print_answer(text, notices, form, allow_partial=allow_partial or bool(found))
    _fail(found)


def _fail(found: Sequence["Breach"]) -> None:
    """End with the exit code of a condition that is met, if one is, and say where."""
    for breach in found:
        typer.echo(breach.text, err=True)
    if found:
        raise typer.Exit(ExitCode.REGRESSED)


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else ()


def _refuse_with_pareto(options: Mapping[str, object]) -> None:
    for name, value in options.items():
        if value:
            raise SweepError(
                f"--pareto shows one run, cell by cell, and takes no {name}. Give only --metric and --costs"
            )


def _print_front(run: str, metric: list[str] | None, *, costs: str | None, form: str, allow_partial: bool) -> None:
    import json

    from results.compare.pareto import GOALS, trade_off_sheets
    from results.render import show_notes, show_sheets
    from results.run import Run
    from results.statistics.verdicts import death_sentences

    store = open_store(run)
    metrics = tuple(metric or GOALS)
    notices = notices_about(store, costs=costs)
    with results_errors(run):
        found = Run(store).pareto(metrics, cost_model_of(store, costs))
        deaths = Run(store).deaths()
    if found.is_empty() and deaths.is_empty():
        raise SweepError(f"{run}: no cell is finished yet; run the sweep first")
    if form == "csv":
        text = found.write_csv()
    elif form == "json":
        content = {"schema": "pareto/1", "cells": found.to_dicts(), "deaths": deaths.to_dicts(), **notices.content()}
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    else:
        text = show_sheets(trade_off_sheets(found, metrics), form) + show_notes(death_sentences(deaths), form)
    say_first(notices, form)
    typer.echo(text, nl=False)
    if form == "csv":
        typer.echo(show_notes(death_sentences(deaths), "text"), nl=False, err=True)
    say_last(notices, form, allow_partial=allow_partial)


def _render(
    tables: Sequence["Comparison"], form: str, found: Sequence["Breach"], notices: "Notices", *, as_list: bool
) -> str:
    from results.compare.table import (
        comparison_list,
        comparison_markdown,
        comparison_text,
        comparisons_csv,
        comparisons_json,
    )
    from results.render import show_sheets

    if form == "json":
        return comparisons_json(tables, failed=[breach.content() for breach in found], **notices.content())
    if form == "csv":
        return comparisons_csv(tables)
    if as_list:
        return show_sheets([comparison_list(table) for table in tables], form)
    if form == "md":
        return "\n".join(comparison_markdown(table) for table in tables)
    width = shutil.get_terminal_size((_PIPE_COLUMNS, 24)).columns if sys.stdout.isatty() else _PIPE_COLUMNS
    return "\n".join(comparison_text(table, width=max(width, 60), paint=_paint) for table in tables)


def _paint(text: str, style: str) -> str:
    return typer.style(text, fg=_COLORS.get(style), bold=style == "strong", dim=style == "weak")
