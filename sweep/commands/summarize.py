"""`sweep summarize`: a finished or unfinished run under any prices."""

import os
from typing import Final

import typer

from sweep.commands.common import (
    BaselineOption,
    CostsOption,
    CsvOption,
    JsonOption,
    MarkdownOption,
    RunArgument,
    chosen_form,
)
from sweep.exit_codes import SweepError
from sweep.runs import open_store, results_errors

_KEEP_FREED: Final = "dirty_decay_ms:10000,muzzy_decay_ms:-1"
"""How long the allocator of polars keeps memory that it frees. At its own half a second, a tenth of the time in which
ten million cells are summed up goes into getting the same pages again."""

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def summarize(
    run: RunArgument,
    costs: CostsOption = None,
    baseline: BaselineOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    as_md: MarkdownOption = False,
) -> None:
    """Print per guest and workload how the policies compare."""
    os.environ.setdefault("_RJEM_MALLOC_CONF", _KEEP_FREED)  # It is read when polars is loaded, below.
    from sweep.closing import render_summary

    form = chosen_form(as_json=as_json, as_csv=as_csv, as_md=as_md)
    store = open_store(run)
    with results_errors(run):
        text = render_summary(store, form=form, costs=costs, baseline=baseline)
    if text is None:
        raise SweepError(f"{run}: no cell is finished yet; run the sweep first")
    typer.echo(text, nl=not text.endswith("\n"))
