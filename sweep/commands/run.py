"""`sweep run`: simulate what is not there yet, and show what came out."""

import os

import typer

from sweep.backends.choose import BackendName
from sweep.cluster.request import GO_ON_VARIABLE
from sweep.commands.common import BreakLockOption, NameOption, OutOption, OverrideOption, SpecArgument
from sweep.commands.options import (
    AddressOption,
    BackendOption,
    FailFastOption,
    GraceOption,
    WorkersOption,
    choose_place,
    choose_sweep,
    command_line,
)
from sweep.exit_codes import ExitCode
from sweep.start.interrupts import GRACE_SECONDS

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def run(
    spec: SpecArgument,
    overrides: OverrideOption = None,
    name: NameOption = None,
    out: OutOption = None,
    backend: BackendOption = BackendName.AUTO,
    address: AddressOption = None,
    workers: WorkersOption = None,
    fail_fast: FailFastOption = None,
    grace: GraceOption = GRACE_SECONDS,
    break_lock: BreakLockOption = False,
) -> None:
    """Run a sweep, or go on with one: finished cells are not repeated."""
    from sweep.plan.cell import engine_fingerprint
    from sweep.start.execute import Execution, execute
    from sweep.tasks.worker import simulate_batch

    sweep = choose_sweep(spec, overrides=overrides, name=name, out=out)
    place = choose_place(
        backend, address=address, workers=workers, fail_fast=fail_fast, grace=grace, break_lock=break_lock
    )
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
