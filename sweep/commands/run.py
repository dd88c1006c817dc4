"""`sweep run`: simulate what is not there yet, and show what came out."""

import os

import typer

from sweep.cluster.request import GO_ON_VARIABLE
from sweep.commands.options import ChosenPlace, ChosenSweep, choose_place, choose_sweep, command_line, taking
from sweep.exit_codes import ExitCode

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
@taking(choose_sweep, choose_place)
def run(sweep: ChosenSweep, place: ChosenPlace) -> None:
    """Run a sweep, or go on with one: finished cells are not repeated."""
    from sweep.cell import engine_fingerprint
    from sweep.execute import Execution, execute
    from sweep.worker import simulate_batch

    execution = Execution(
        spec=sweep.spec,
        run=sweep.folder,
        backend=place.backend,
        simulate=simulate_batch,
        fingerprint=engine_fingerprint(),
        # A job is not gone on with where it runs; `sweep submit` tells it how it was started.
        command=os.environ.get(GO_ON_VARIABLE) or command_line("sweep", "run", *sweep.words, *place.words),
        rules=place.rules,
        break_lock=place.break_lock,
    )
    code = execute(execution)
    if code is not ExitCode.OK:
        raise typer.Exit(code)
