"""The command line. It knows the verbs and loads the module of the one that was asked for, so that help is quick."""

import ast
import importlib
import os
import sys
from pathlib import Path
from typing import Any, Final, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from engine.core import CoreError
from sweep.exit_codes import ExitCode, SweepError
from sweep.start.interrupts import interruptible
from sweep.terminal import guard_output

VERBS: Final = (
    "run",
    "retry",
    "plan",
    "summarize",
    "report",
    "plot",
    "compare",
    "explain",
    "price",
    "prices",
    "diff",
    "fsck",
    "gc",
    "compact",
    "merge",
    "export",
    "submit",
    "status",
    "logs",
    "cancel",
    "doctor",
    "catalog",
    "validate",
    "trace",
    "bench",
)
"""The verbs as help lists them; the module of each is sweep.commands.<name>, its typer application `app`."""


def verb_summary(name: str) -> str:
    """Return the first line of what a verb's function says of itself; the module is read, for importing takes long."""
    module = Path(__file__).with_name("commands") / f"{name}.py"
    functions = ast.parse(module.read_text(encoding="utf-8")).body
    verb = next(node for node in functions if isinstance(node, ast.FunctionDef) and node.name == name)
    return (ast.get_docstring(verb) or "").partition("\n")[0]


def load_verb(name: str) -> Any:
    """Import the module of a verb and return its command."""
    module = importlib.import_module(f"sweep.commands.{name}")
    command = typer.main.get_command(module.app)
    command.name = name
    return command


class LazyGroup(TyperGroup):
    """A group that lists its verbs without importing them, and looks at none that nobody asked for."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: TyperCommand(name, rich_markup_mode=None) for name in VERBS}

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a verb as the list of verbs shows it."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            command.help = command.short_help = verb_summary(cmd_name)
        return command

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
    except CoreError as error:
        typer.echo(error, err=True)
        code = ExitCode.USAGE
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
