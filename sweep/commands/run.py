"""`sweep run`: simulate what is not there yet, and show what came out."""

from pathlib import Path
from typing import Annotated

import typer

from sweep.backends.choose import BackendName, choose_backend
from sweep.commands.common import (
    NameOption,
    OutOption,
    OverrideOption,
    SpecArgument,
    all_overrides,
    read_sweep,
    run_folder,
)
from sweep.exit_codes import ExitCode

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def run(
    spec: SpecArgument,
    overrides: OverrideOption = None,
    backend: Annotated[
        BackendName, typer.Option(help="Where batches run; auto takes ray if RAY_ADDRESS is set, else local.")
    ] = BackendName.AUTO,
    workers: Annotated[
        int | None, typer.Option("-j", "--workers", min=1, help="Batches at a time; all cores if not given.")
    ] = None,
    name: NameOption = None,
    out: OutOption = None,
) -> None:
    """Run a sweep, or go on with one: finished cells are not repeated."""
    from sweep.cell import engine_fingerprint
    from sweep.execute import Execution, execute
    from sweep.worker import simulate_batch

    sweep = read_sweep(spec, all_overrides(overrides, name))
    chosen, reason = choose_backend(backend)
    folder: Path = run_folder(sweep, out)
    command = " ".join(["sweep run", str(spec), *(f"-s '{text}'" for text in all_overrides(overrides, name))])
    execution = Execution(
        spec=sweep,
        folder=folder,
        backend=chosen,
        reason=reason,
        workers=workers,
        simulate=simulate_batch,
        fingerprint=engine_fingerprint(),
        command=command if out is None else f"{command} --out {out}",
    )
    code = execute(execution)
    if code is not ExitCode.OK:
        raise typer.Exit(code)
