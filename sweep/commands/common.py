"""What several verbs need: reading a specification, opening a run, telling errors of results as errors of use."""

import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from sweep.exit_codes import DamagedError, SweepError

if TYPE_CHECKING:
    from engine.workloads.contract import Workload
    from results.charts.frames import RunFrames
    from results.cost_model import CostModel
    from results.store import RunStore
    from sweep.spec import SweepSpec

RUNS: Final = Path("runs")
_REFUSALS: Final = frozenset({"ArrowException", "PolarsError", "PanicException"})
"""Bases of what pyarrow and polars raise when the bytes of a table make no sense; neither is loaded for their names."""

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
    from sweep.spec_read import load_spec

    return load_spec(path, overrides, workloads=workload_registry())


def workload_registry() -> Mapping[str, "Workload"]:
    """Return the registered workloads."""
    from engine.workloads import WORKLOADS

    return WORKLOADS


def run_location(spec: "SweepSpec", out: str | None) -> str:
    """Return where a sweep's results go: a folder, or a URL in its one spelling."""
    from results.storage import checked_url, is_url

    if out is None:
        return str(RUNS / spec.name)
    with results_errors():
        return checked_url(out) if is_url(out) else out


def neighbours(run: str) -> Path:
    """Return the folder whose runs tell what batches take."""
    from results.storage import is_url

    return RUNS if is_url(run) else Path(run).parent


@contextmanager
def results_errors(*runs: str) -> Iterator[None]:
    """Turn what results/ can't use into an error without a traceback; `runs` are those that are read meanwhile."""
    from results.manifest import StoreError
    from results.pairing import ComparisonError
    from results.schema import SchemaError
    from results.storage import DamageError

    try:
        yield
    except DamageError as error:
        raise DamagedError(f"{error}\n  `sweep fsck` lists all that is damaged") from error
    except (SchemaError, StoreError, ComparisonError) as error:
        raise SweepError(str(error)) from error
    except BaseException as error:
        # What a thread of polars dies of is no Exception.
        if _is_refusal(error):
            _find_damage(runs)
        raise


def _is_refusal(error: BaseException) -> bool:
    """Say whether a library that reads tables refused one."""
    if isinstance(error, OSError):
        return error.errno is None
    return any(base.__name__ in _REFUSALS for base in type(error).__mro__)


def _find_damage(runs: tuple[str, ...]) -> None:
    """Raise DamagedError if a file of a run is damaged: the library that met it told neither its name nor a reason."""
    from results.fsck import Level, check_run
    from results.store import RunStore

    for run in runs:
        store = RunStore(run)
        with results_errors():
            findings = check_run(store).findings
        for finding in findings:
            if finding.level is Level.DAMAGE:
                place = store.storage.locate(finding.place)
                raise DamagedError(f"{place}: {finding.what}\n  {finding.then}\n  `sweep fsck {run}` lists all")


def open_store(run: str, *, damaged: bool = False) -> "RunStore":
    """Return the store of a run that must be there, and sound unless a `damaged` one will do."""
    from results.soundness import check_sound
    from results.store import RunStore
    from sweep.resolved import check_resolved

    with results_errors():
        store = RunStore(run)
        check_resolved(store.spec(), store.storage.locate("spec.json"))
        if not damaged:
            check_sound(store)
    return store


@contextmanager
def locked(store: "RunStore", *, breaking: bool = False) -> Iterator[None]:
    """Hold a run, as a driver does, while its files are changed."""
    with results_errors(), store.storage.lock(driver_facts(), breaking=breaking):
        yield


def driver_facts() -> dict[str, str]:
    """Return what a lock says about who holds it."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"host": platform.node(), "pid": str(os.getpid()), "since": since}


def open_frames(store: "RunStore", *, costs: str | None, baseline: str | None) -> "RunFrames":
    """Return what charts and reports read of a run, under its own prices and baseline if none are given."""
    from results.charts.frames import RunFrames
    from results.labels import LabelledRun

    with results_errors():
        spec = store.spec()
    return RunFrames(
        tables=LabelledRun(store),
        spec=spec,
        model=cost_model_of(store, costs),
        baseline=baseline or spec["baseline"],
    )


def write_output(path: Path, content: bytes) -> None:
    """Write a file that the user has named, whole or not at all."""
    from results.files import write_whole

    try:
        write_whole(path, content)
    except OSError as error:
        raise SweepError(f"-o {path}: can't be written: {error.strerror}. Name another place") from error


def load_cost_model(name: str) -> "CostModel":
    """Return a cost model by its name or its file; `NAME:low` and `NAME:high` are the ends of its ranges."""
    from results.cost_model import CostModelError, cost_model_from_mapping
    from sweep.spec_costs import cost_problems, read_costs

    model, bound = split_bound(name)
    root = read_costs(model)
    try:
        return cost_model_from_mapping(root.value).at(bound)
    except CostModelError as error:
        raise cost_problems(root, error.problems) from error


def cost_model_of(store: "RunStore", costs: str | None) -> "CostModel":
    """Return the cost model of that name, or the run's own prices as its last start read them."""
    from results.own_costs import own_costs

    if costs is not None:
        return load_cost_model(costs)
    with results_errors():
        return own_costs(store) or load_cost_model(store.spec()["costs"])


def split_bound(name: str) -> tuple[str, str]:
    """Return the name of a cost model and the end of its ranges that `name` asks for: low, value or high.

    Raises:
        SweepError: there is no such end.
    """
    from results.cost_model import BOUNDS

    model, colon, bound = name.rpartition(":")
    if not colon:
        return name, "value"
    if bound not in BOUNDS:
        raise SweepError(
            f"--costs {name}: '{bound}' is no end of a range; allowed after the colon: {', '.join(BOUNDS)}"
        )
    return model, bound


def kernbench_labels(resolved: Mapping[str, Any]) -> list[str]:
    """Return the labels under which kernbench is in a sweep."""
    return [case["label"] for case in resolved["workloads"] if case["name"] == "kernbench"]
