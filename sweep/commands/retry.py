"""`sweep retry`: once more what has failed; or one failed batch right here, to see why."""

from dataclasses import replace
from typing import Annotated

import typer

from sweep.commands.common import RunArgument
from sweep.commands.options import ChosenPlace, choose_place, command_line, taking
from sweep.exit_codes import ExitCode

app = typer.Typer(add_completion=False, rich_markup_mode=None)

OnlyOption = Annotated[
    str | None, typer.Option("--only", metavar="CAUSE", help="Only failures of this cause (its fingerprint).")
]
BatchOption = Annotated[
    str | None,
    typer.Option("--batch", metavar="NAME", help="Simulate one batch in this process, with its error; write nothing."),
]


def choose_run(run: RunArgument) -> str:
    """Return the run of the arguments."""
    return run


@app.command()
@taking(choose_run, choose_place)
def retry(run: str, place: ChosenPlace, only: OnlyOption = None, batch: BatchOption = None) -> None:
    """Try failed cells of a run again, by the specification that the run keeps."""
    from sweep.cell import engine_fingerprint
    from sweep.execute import execute
    from sweep.retrying import retry_execution, simulate_here
    from sweep.worker import simulate_batch

    if batch is not None:
        typer.echo(simulate_here(run, batch, simulate=simulate_batch, fingerprint=engine_fingerprint()))
        return
    words = ["sweep", "retry", run, *([] if only is None else ["--only", only]), *place.words]
    execution = retry_execution(
        run,
        only,
        place=place.backend,
        rules=place.rules,
        simulate=simulate_batch,
        fingerprint=engine_fingerprint(),
        command=command_line(*words),
    )
    if not execution.only:
        typer.echo(f"nothing to retry: no cell of {run} has failed; `sweep run` does what is not there yet")
        return
    code = execute(replace(execution, break_lock=place.break_lock))
    if code is not ExitCode.OK:
        raise typer.Exit(code)
