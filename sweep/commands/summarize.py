"""`sweep summarize`: a finished or unfinished run under any prices."""

import os
from typing import Final

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
    say_first,
    say_last,
)
from sweep.exit_codes import SweepError
from sweep.runs import open_store, results_errors

_KEEP_FREED: Final = {"_RJEM_MALLOC_CONF": "dirty_decay_ms:10000,muzzy_decay_ms:-1", "MIMALLOC_PURGE_DELAY": "-1"}
"""That the allocators of polars and pyarrow keep memory that they free. As they are, a sixth of the time in which ten
million cells are summed up goes into getting the same pages again."""

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
    for variable, value in _KEEP_FREED.items():  # They are read when the libraries are loaded, below.
        os.environ.setdefault(variable, value)
    from sweep.start.last_lines import render_summary

    form = chosen_form(as_json=as_json, as_csv=as_csv, as_md=as_md)
    store = open_store(run)
    notices = notices_about(store)
    with results_errors(run):
        text = render_summary(store, form=form, costs=costs, baseline=baseline, more=notices.content())
    if text is None:
        raise SweepError(f"{run}: no cell is finished yet; run the sweep first")
    say_first(notices, form)
    typer.echo(text, nl=not text.endswith("\n"))
    say_last(notices, form, allow_partial=allow_partial)
