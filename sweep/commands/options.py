"""The arguments by which `run` and `plan` name a sweep, and those by which `run` and `retry` say where: each once."""

import functools
import inspect
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, get_type_hints

import typer

from sweep.backends.choose import BackendChoice, BackendName, choose_backend
from sweep.commands.common import (
    BreakLockOption,
    NameOption,
    OutOption,
    OverrideOption,
    SpecArgument,
    all_overrides,
    read_sweep,
)
from sweep.driver_rules import Rules
from sweep.fingerprint import without_secrets
from sweep.interrupts import GRACE_SECONDS
from sweep.runs import run_location
from sweep.spec import SweepSpec

BackendOption = Annotated[
    BackendName, typer.Option(help="Where batches run; auto takes ray if an address is known, else local.")
]
AddressOption = Annotated[
    str | None,
    typer.Option("--address", metavar="HOST:PORT", help="Ray cluster to run on; RAY_ADDRESS if not given."),
]
WorkersOption = Annotated[
    int | None, typer.Option("-j", "--workers", min=1, help="Tasks at a time; all cores if not given.")
]
FailFastOption = Annotated[
    int | None,
    typer.Option("--fail-fast", metavar="N", min=1, help="Start nothing new once N batches failed by the same cause."),
]
GraceOption = Annotated[
    float, typer.Option("--grace", metavar="SECONDS", min=0.0, help="How long SIGTERM lets running tasks go on.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenSweep:
    """The sweep that a command line names, and where its results go."""

    spec: SweepSpec
    folder: str
    """Folder or URL."""
    words: tuple[str, ...]
    """What names the sweep, as it was typed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenPlace:
    """Where a command line says that batches run, and when they stop."""

    backend: BackendChoice
    rules: Rules
    words: tuple[str, ...]
    """What says so, as it was typed."""
    break_lock: bool = False
    """Not among the words: whoever goes on later breaks nobody's lock."""


def choose_sweep(
    spec: SpecArgument,
    overrides: OverrideOption = None,
    name: NameOption = None,
    out: OutOption = None,
) -> ChosenSweep:
    """Return the sweep of the arguments."""
    sweep = read_sweep(spec, all_overrides(overrides, name))
    words = [str(spec)]
    for text in all_overrides(overrides, name):
        words += ["-s", text]
    if out is not None:
        words += ["--out", out]
    return ChosenSweep(spec=sweep, folder=run_location(sweep, out), words=tuple(words))


def choose_place(
    backend: BackendOption = BackendName.AUTO,
    address: AddressOption = None,
    workers: WorkersOption = None,
    fail_fast: FailFastOption = None,
    grace: GraceOption = GRACE_SECONDS,
    break_lock: BreakLockOption = False,
) -> ChosenPlace:
    """Return the backend of the arguments and the rules for an early end."""
    words: list[str] = []
    if backend is not BackendName.AUTO:
        words += ["--backend", backend.value]
    for option, value in (("--address", address), ("-j", workers), ("--fail-fast", fail_fast)):
        words += [] if value is None else [option, str(value)]
    if grace != GRACE_SECONDS:
        words += ["--grace", f"{grace:g}"]
    return ChosenPlace(
        backend=choose_backend(backend, address=address, workers=workers),
        rules=Rules(fail_fast=fail_fast, grace_seconds=grace),
        words=tuple(words),
        break_lock=break_lock,
    )


def taking(*choosers: Callable[..., Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a verb the arguments of the choosers in place of its first parameters, which get what they choose."""

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(verb).parameters.values())[len(choosers) :]
        hints = get_type_hints(verb, include_extras=True)
        parameters = [p for chooser in choosers for p in inspect.signature(chooser).parameters.values()]
        for chooser in choosers:
            hints |= get_type_hints(chooser, include_extras=True)
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in [*parameters, *own]]

        @functools.wraps(verb)
        def command(**arguments: Any) -> None:
            chosen = [
                chooser(**{name: arguments.pop(name) for name in inspect.signature(chooser).parameters})
                for chooser in choosers
            ]
            verb(*chosen, **arguments)

        del command.__wrapped__  # typer would look through it.
        signature = inspect.Signature([p.replace(annotation=hints[p.name]) for p in parameters])
        command.__signature__ = signature  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: hints[p.name] for p in parameters}
        return command

    return decorate


def command_line(*words: str) -> str:
    """Return words as they would be typed in a shell; it is kept in runs, so without secrets."""
    return without_secrets(shlex.join(words))
