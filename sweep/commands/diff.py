"""`sweep diff`: are the results of two runs the same?"""

import math
from typing import Annotated

import typer

from sweep.exit_codes import ExitCode
from sweep.runs import open_store, results_errors

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def diff(
    first: Annotated[str, typer.Argument(metavar="A", help="Folder or URL of a run.", show_default=False)],
    second: Annotated[str, typer.Argument(metavar="B", help="Folder or URL of another run.", show_default=False)],
) -> None:
    """Say whether two runs have the same results."""
    from results.store.soundness import check_sound
    from results.upkeep.diff import diff_runs

    with results_errors(first, second):
        for run in (first, second):
            # A difference that only damage makes would be one that neither sweep has found.
            check_sound(open_store(run), hashed_bytes=math.inf)
        difference = diff_runs(first, second)
    typer.echo(difference.text(), nl=False)
    if not difference.identical:
        raise typer.Exit(ExitCode.DIFFERS)
