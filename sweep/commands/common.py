"""What several verbs need: arguments and options, reading a specification, what charts read, writing a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from sweep.exit_codes import ExitCode, SweepError
from sweep.runs import results_errors
from sweep.spec.costs import cost_model_of, load_cost_model

if TYPE_CHECKING:
    from engine.workloads.contract import Workload
    from results.notices.notices import Notices
    from results.ranked_run import RankedRun
    from results.store.run_store import RunStore
    from sweep.spec.spec import SweepSpec


SpecArgument = Annotated[Path, typer.Argument(metavar="SPEC", help="The sweep's YAML file.", show_default=False)]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Folder or URL of a run.", show_default=False)]
OverrideOption = Annotated[
    list[str] | None,
    typer.Option("-s", "--set", metavar="PATH=VALUE", help="Override a value, as in -s guests.vcpus=[1,2,4]."),
]
OutOption = Annotated[
    str | None,
    typer.Option(
        "--out", metavar="RUN", help="Folder or URL of the run; runs/<name> if not given.", show_default=False
    ),
]
BreakLockOption = Annotated[
    bool, typer.Option("--break-lock", help="In an object store: take the run from a driver that is dead for sure.")
]
NameOption = Annotated[
    str | None,
    typer.Option("--name", metavar="NAME", help="Name of the sweep; short for -s name=NAME.", show_default=False),
]
CostsOption = Annotated[
    str | None,
    typer.Option("--costs", metavar="NAME|FILE", help="Cost model; the one of the sweep if not given."),
]
BaselineOption = Annotated[
    str | None,
    typer.Option("--baseline", metavar="POLICY", help="Policy to compare with; the one of the sweep if not given."),
]


MinEffectOption = Annotated[
    float | None,
    typer.Option("--min-effect", metavar="PERCENT", min=0.0, help="Smallest difference that counts; 0.5 if not given."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, with every digit.")]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print CSV, with every digit.")]
MarkdownOption = Annotated[bool, typer.Option("--md", help="Print Markdown.")]
AllowPartialOption = Annotated[
    bool, typer.Option("--allow-partial", help="Exit code 0 even if planned cells are missing; the answer says so.")
]
_FOR_PEOPLE: Final = ("text", "md")
"""Forms of output that may begin and end with lines which are no part of the answer."""


def say_first(notices: "Notices", form: str = "text") -> None:
    """Print what comes before the answer: on stderr where the answer is for a program."""
    for line in notices.first:
        typer.echo(line, err=form not in _FOR_PEOPLE)
    if notices.first and form == "md":
        typer.echo()


def say_last(notices: "Notices", form: str = "text", *, allow_partial: bool) -> None:
    """Print what comes after the answer, and end with the exit code of a partial one unless that is allowed."""
    from results.render import show_notes

    if notices.notes:
        typer.echo(show_notes(notices.notes, form), nl=False, err=form not in _FOR_PEOPLE)
    if notices.is_partial and not allow_partial:
        raise typer.Exit(ExitCode.CELLS_FAILED)


def print_answer(text: str, notices: "Notices", form: str = "text", *, allow_partial: bool) -> None:
    """Print an answer with what comes before and after it; end with the exit code of a partial one if it is one."""
    say_first(notices, form)
    typer.echo(text, nl=bool(text) and not text.endswith("\n"))
    say_last(notices, form, allow_partial=allow_partial)


def notices_about(*stores: "RunStore", costs: str | None = None) -> "Notices":
    """Return what has to be said with an answer about these runs, priced by `costs` or by their own prices."""
    from results.notices.notices import notices_of

    model = None if costs is None else load_cost_model(costs)
    with results_errors(*(store.name for store in stores)):
        return notices_of(stores, costs=model)


def chosen_form(*, as_json: bool, as_csv: bool, as_md: bool) -> str:
    """Return the form of output that is asked for: text if none is.

    Raises:
        SweepError: several are.
    """
    forms = [form for form, wanted in (("json", as_json), ("csv", as_csv), ("md", as_md)) if wanted]
    if len(forms) > 1:
        raise SweepError("--json, --csv and --md exclude each other; give one of them")
    return forms[0] if forms else "text"


def all_overrides(overrides: list[str] | None, name: str | None) -> tuple[str, ...]:
    """Return the overrides of the command line, the name among them."""
    return (*(overrides or ()), *([] if name is None else [f"name={name}"]))


def read_sweep(path: Path, overrides: tuple[str, ...]) -> "SweepSpec":
    """Return the sweep of a file with the overrides of the command line."""
    from sweep.spec.read import load_spec

    return load_spec(path, overrides, workloads=workload_registry())


def workload_registry() -> Mapping[str, "Workload"]:
    """Return the registered workloads."""
    from engine.workloads import WORKLOADS

    return WORKLOADS


def open_view(
    store: "RunStore", *, costs: str | None, baseline: str | None, min_effect: float | None = None
) -> "RankedRun":
    """Return what charts and reports read of a run, under its own prices and baseline if none are given."""
    from results.ranked_run import RankedRun
    from results.statistics.verdicts import MINIMUM_EFFECT
    from results.store.labels import LabelledRun

    with results_errors():
        run = LabelledRun(store)
        return RankedRun(
            run=run,
            costs=cost_model_of(store, costs),
            baseline=baseline or run.baseline,
            minimum_effect=MINIMUM_EFFECT if min_effect is None else min_effect,
        )


def write_output(path: Path, content: bytes) -> None:
    """Write a file that the user has named, whole or not at all."""
    from results.store.files import write_whole

    try:
        write_whole(path, content)
    except OSError as error:
        raise SweepError(f"-o {path}: can't be written: {error.strerror}. Name another place") from error
