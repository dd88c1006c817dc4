"""What `run` and `plan` make of the arguments that name a sweep, and `run` and `retry` of those that say where."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweep.backends.choose import BackendChoice, BackendName, choose_backend
from sweep.commands.common import all_overrides, read_sweep
from sweep.runs import run_location
from sweep.spec.spec import SweepSpec
from sweep.start.interrupts import GRACE_SECONDS
from sweep.tasks.failures import without_secrets

if TYPE_CHECKING:
    from sweep.start.driver import Rules

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
    rules: "Rules"
    words: tuple[str, ...]
    """What says so, as it was typed."""
    break_lock: bool = False
    """Not among the words: whoever goes on later breaks nobody's lock."""


def choose_sweep(spec: Path, *, overrides: list[str] | None, name: str | None, out: str | None) -> ChosenSweep:
    """Return the sweep of the arguments."""
    sweep = read_sweep(spec, all_overrides(overrides, name))
    words = [str(spec)]
    for text in all_overrides(overrides, name):
        words += ["-s", text]
    if out is not None:
        words += ["--out", out]
    return ChosenSweep(spec=sweep, folder=run_location(sweep.name, out), words=tuple(words))


def choose_place(
    backend: BackendName,
    *,
    address: str | None,
    workers: int | None,
    fail_fast: int | None,
    grace: float,
    break_lock: bool,
) -> ChosenPlace:
    """Return the backend of the arguments and the rules for an early end."""
    from sweep.start.driver import Rules

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


def command_line(*words: str) -> str:
    """Return words as they would be typed in a shell; it is kept in runs, so without secrets."""
    return without_secrets(shlex.join(words))
