"""`sweep export`: one table of a run as one file."""

import json
from pathlib import Path
from typing import Annotated

import typer

from results.wording import counted
from sweep.commands.common import JsonOption, RunArgument
from sweep.exit_codes import SweepError
from sweep.progress import format_bytes
from sweep.runs import open_store, results_errors

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def export(
    run: RunArgument,
    out: Annotated[
        Path,
        typer.Option("-o", metavar="FILE", help="Ends in .parquet, .csv, .arrow or .feather.", show_default=False),
    ],
    table: Annotated[str, typer.Option(metavar="NAME", help="Table to write: cells, windows, …")] = "cells",
    as_json: JsonOption = False,
) -> None:
    """Write one table of a run, under the names of its sweep, to one Parquet, CSV or Arrow file.

    Rows of policies under which the host dies are among them: their column `fatal` is not 0, and a note names them.
    """
    from results.statistics.verdicts import death_sentences, deaths_of
    from results.store.labels import LabelledRun
    from results.upkeep.exporting import export as export_table

    store = open_store(run)
    if not out.parent.is_dir():
        raise SweepError(f"-o {out}: there is no folder {out.parent}. Make it, or name another place")
    with results_errors(run):
        rows = export_table(store, out, table=table)
        sentences = death_sentences(deaths_of(LabelledRun(store).scan("cells")))
    for sentence in sentences:
        typer.echo(f"note: {sentence}: rows with fatal > 0 are no measure of anything", err=True)
    size = out.stat().st_size
    if as_json:
        typer.echo(json.dumps({"file": str(out), "table": table, "rows": rows, "bytes": size}, indent=1))
        return
    typer.echo(f"{out}: {counted(rows, 'row')} of {table}, {format_bytes(size)}")
