"""The command line. It knows the verbs and loads the module of the one that was asked for, so that help is quick."""

import importlib
import os
import sys
from typing import Any, Final, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from sweep.exit_codes import ExitCode, SweepError
from sweep.interrupts import interruptible
from sweep.terminal import guard_output

VERBS: Final[tuple[tuple[str, str], ...]] = (
    ("run", "Run a sweep, or go on with one that was stopped."),
    ("retry", "Try failed cells again, or one failed batch in this terminal."),
    ("plan", "Show cells, batches and cost of a sweep; start nothing."),
    ("summarize", "Print per guest and workload how the policies compare."),
    ("report", "Write one page with verdict, charts, tables and data that works offline."),
    ("plot", "Draw one chart of a run: in the terminal, or as SVG, PNG or PDF for a paper."),
    ("compare", "Compare a metric, in a run or between two, with verdicts."),
    ("explain", "Say where a difference comes from, to the cycle."),
    ("price", "Say what holds under uncertain prices, and which decides."),
    ("diff", "Say whether two runs have the same results."),
    ("fsck", "Check every file of a run against its manifest; change nothing."),
    ("gc", "Remove what a crash has left in a run."),
    ("compact", "Make a few sorted files of a run's many."),
    ("merge", "Make one run of two: the union of their cells."),
    ("export", "Write one table of a run to one Parquet, CSV or Arrow file."),
    ("submit", "Hand a sweep to a Ray cluster, or write what starts one on KubeRay or Slurm."),
    ("status", "Say how far a run or a job is; with no name, all runs here."),
    ("logs", "Print what a job has printed; --follow until it ends."),
    ("cancel", "Ask a job to stop; what is finished is kept."),
    ("doctor", "Say whether this machine or a cluster is fit for a sweep."),
    ("catalog", "List everything that a sweep can name."),
    ("validate", "Compare the engine with recordings of a real KVM."),
    ("trace", "Record, import and inspect traces of processes."),
)
"""Name and help of each verb; the module is sweep.commands.<name>, its typer application `app`."""


def load_verb(name: str) -> Any:
    """Import the module of a verb and return its command."""
    module = importlib.import_module(f"sweep.commands.{name}")
    command = typer.main.get_command(module.app)
    command.name = name
    return command


class LazyGroup(TyperGroup):
    """A group that lists its verbs without importing them."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {
            name: TyperCommand(name, help=text, short_help=text, rich_markup_mode=None) for name, text in VERBS
        }

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Load the verb that was typed."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, load_verb(name) if command is not None and name is not None else command, rest


app = typer.Typer(cls=LazyGroup, add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def sweep() -> None:
    """Sweep policies of a shadow-paging hypervisor over workloads and guests.

    Start with `sweep plan configs/smoke.yaml`, then `sweep run configs/smoke.yaml`.
    """


def main() -> NoReturn:
    """Run the command line and exit with an ExitCode; the console entry."""
    guard_output()
    out = sys.stdout
    code: int | str | None = ExitCode.OK
    try:
        with interruptible():
            app(prog_name="sweep")
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except SweepError as error:
        typer.echo(error, err=True)
        code = error.exit_code
    except SystemExit as ended:
        # typer ends with 1, that of failed cells, when the reader of the output has gone away, as `head` does.
        code = ExitCode.CLOSED_PIPE if isinstance(ended.__context__, BrokenPipeError) else ended.code
    try:
        out.flush()
    except BrokenPipeError:
        code = ExitCode.CLOSED_PIPE
    if code is ExitCode.CLOSED_PIPE:
        # The interpreter flushes once more, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
    sys.exit(code)


if __name__ == "__main__":
    main()
