"""`sweep summarize`: a finished or unfinished run under any prices."""

import typer

from sweep.commands.common import (
    AllowPartialOption,
    BaselineOption,
    CostsOption,
    CsvOption,
    JsonOption,
    MarkdownOption,
    RunArgument,
    chosen_form,
    notices_about,
    print_answer,
)
from sweep.exit_codes import SweepError
from sweep.runs import open_store, results_errors

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def summarize(
    run: RunArgument,
    costs: CostsOption = None,
    baseline: BaselineOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    as_md: MarkdownOption = False,
    allow_partial: AllowPartialOption = False,
) -> None:
    """Print per guest and workload how the policies compare."""
    from sweep.start.last_lines import render_summary

    form = chosen_form(as_json=as_json, as_csv=as_csv, as_md=as_md)
    store = open_store(run)
    notices = notices_about(store, costs=costs)
    with results_errors(run):
        text = render_summary(store, form=form, costs=costs, baseline=baseline, more=notices.content())
    if text is None:
        raise SweepError(f"{run}: no cell is finished yet; run the sweep first")
    print_answer(text, notices, form, allow_partial=allow_partial)
