"""`sweep retry`: once more what has failed; or one failed batch right here, to see why."""

from dataclasses import replace
from typing import Annotated

import typer

from sweep.backends.choose import BackendName
from sweep.commands.common import BreakLockOption, RunArgument
from sweep.commands.options import (
    AddressOption,
    BackendOption,
    FailFastOption,
    GraceOption,
    WorkersOption,
    choose_place,
    command_line,
)
from sweep.exit_codes import ExitCode
from sweep.start.interrupts import GRACE_SECONDS

app = typer.Typer(add_completion=False, rich_markup_mode=None)

OnlyOption = Annotated[
    str | None,
    typer.Option("--only", metavar="CAUSE", help="Only failures of this cause, or of those whose names begin so."),
]
BatchOption = Annotated[
    str | None,
    typer.Option("--batch", metavar="NAME", help="Simulate one batch in this process, with its error; write nothing."),
]


@app.command()
def retry(
    run: RunArgument,
    backend: BackendOption = BackendName.AUTO,
    address: AddressOption = None,
    workers: WorkersOption = None,
    fail_fast: FailFastOption = None,
    grace: GraceOption = GRACE_SECONDS,
    break_lock: BreakLockOption = False,
    only: OnlyOption = None,
    batch: BatchOption = None,
) -> None:
    """Try failed cells again, or one failed batch in this terminal.

    The specification is the one that the run keeps.
    """
    from sweep.plan.cell import engine_fingerprint
    from sweep.start.execute import execute
    from sweep.start.retry import retry_execution, simulate_here
    from sweep.tasks.worker import simulate_batch

    place = choose_place(
        backend, address=address, workers=workers, fail_fast=fail_fast, grace=grace, break_lock=break_lock
    )
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
