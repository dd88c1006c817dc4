"""`sweep explain`: where the difference between two policies comes from, as tables that add up exactly."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from sweep.commands.common import (
    AllowPartialOption,
    CostsOption,
    CsvOption,
    JsonOption,
    MarkdownOption,
    RunArgument,
    chosen_form,
    notices_about,
    say_first,
    say_last,
)
from sweep.runs import open_store, results_errors
from sweep.spec.costs import cost_model_of

if TYPE_CHECKING:
    import polars as pl

    from results.explain.explain import Explanation, Pair
    from results.notices.notices import Notices

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def explain(
    run: RunArgument,
    policy: Annotated[str, typer.Option("--policy", metavar="A", help="Policy to explain.", show_default=False)],
    baseline: Annotated[
        str | None,
        typer.Option("--vs", metavar="B", help="Policy to compare with; the sweep's baseline if not given."),
    ] = None,
    workload: Annotated[
        str | None, typer.Option("--workload", metavar="W", help="Only this workload, or those that match, as kern*.")
    ] = None,
    guest: Annotated[
        str | None, typer.Option("--guest", metavar="G", help="Only this guest, or those that match, as 8cpu-*.")
    ] = None,
    windows: Annotated[
        int, typer.Option("--windows", metavar="N", min=0, max=10_000, help="Also over N stretches of the time.")
    ] = 0,
    activities: Annotated[
        bool, typer.Option("--activities", help="Also by what the guest was doing: fork, exit, page reuse, …")
    ] = False,
    costs: CostsOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    as_md: MarkdownOption = False,
    allow_partial: AllowPartialOption = False,
) -> None:
    """Say where the difference between two policies comes from, to the cycle.

    All replicates are added up, and no figure is rounded, so that every column adds up by hand. Where the host dies
    under one of the two policies there is no difference, and a sentence says so.
    """
    form = chosen_form(as_json=as_json, as_csv=as_csv, as_md=as_md)
    from results.run import Run

    store = open_store(run)
    model = cost_model_of(store, costs)
    notices = notices_about(store, costs=costs)
    with results_errors(run):
        opened = Run(store)
        pairs = opened.pairs(policy, baseline, workload=workload, guest=guest)
        dying = [pair for pair in pairs if pair.deaths]
        found = []
        if len(dying) < len(pairs):
            found = opened.explain(policy, baseline, workload=workload, guest=guest, stretches=windows, costs=model)
        by_activity = [opened.explain_activities(one, model) if activities else None for one in found]
    say_first(notices, form)
    for pair in dying:
        typer.echo(pair.death + ("\n" if form == "md" else ""), err=form not in {"text", "md"})
    typer.echo(_render(found, by_activity, dying, notices, form), nl=False)
    say_last(notices, form, allow_partial=allow_partial)


def _render(
    found: list["Explanation"],
    activities: list["pl.DataFrame | None"],
    dying: list["Pair"],
    notices: "Notices",
    form: str,
) -> str:
    import polars as pl

    from results.explain.table import death_content, explanation_content, explanation_sheets, lines_frame
    from results.render import show_sheets

    both = list(zip(found, activities, strict=True))
    if form == "json":
        explanations = [explanation_content(one, acts) for one, acts in both]
        explanations += [death_content(pair) for pair in dying]
        content = {"schema": "explain/1", "explanations": explanations, **notices.content()}
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    if form == "csv":
        frames = [lines_frame(one) for one in found]
        return pl.concat(frames, how="vertical_relaxed").write_csv() if frames else ""
    return show_sheets([sheet for one, acts in both for sheet in explanation_sheets(one, acts)], form)
