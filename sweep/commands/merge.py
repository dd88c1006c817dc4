"""`sweep merge`: one run of two."""

import json
from typing import Annotated

import typer

from results.wording import counted
from sweep.commands.common import JsonOption
from sweep.runs import open_store, results_errors

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def merge(
    first: Annotated[str, typer.Argument(metavar="A", help="Folder or URL of a run.", show_default=False)],
    second: Annotated[str, typer.Argument(metavar="B", help="Folder or URL of another run.", show_default=False)],
    out: Annotated[str, typer.Option("--out", metavar="RUN", help="Where the union goes.", show_default=False)],
    prefer: Annotated[
        str | None,
        typer.Option(
            "--prefer", metavar="A|B", help="Run whose settings count where the two differ.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the union of the cells of two runs as a new one; cells of both must have the same answer in both.

    Policies, workloads and guests of both come along. Where baseline, costs, seed or another setting differs, --prefer
    says which run's counts; without it nothing is written. Which of the two is named first makes no difference.
    """
    from results.store.run_store import RunStore
    from results.upkeep.merging import merge_runs

    stores = [open_store(run) for run in (first, second)]
    with results_errors(first, second):
        cells = [len(store.finished_cells()) for store in stores]
        merged = merge_runs(first, second, out, prefer=None if prefer is None else RunStore(prefer).name)
        union = len(merged.finished_cells())
    if as_json:
        content = {"run": merged.name, "cells": union, "of": [first, second], "cells_of": cells}
        typer.echo(json.dumps(content, indent=1))
        return
    shared = sum(cells) - union
    typer.echo(
        f"{merged.name}: {counted(union, 'cell')}: {cells[0]} of {first} and {cells[1]} of {second}, {shared} in both"
    )
