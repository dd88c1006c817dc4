"""`sweep plot`: one chart of a run, in the terminal or as a file for a paper."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from sweep.commands.common import (
    AllowPartialOption,
    BaselineOption,
    CostsOption,
    RunArgument,
    notices_about,
    open_view,
    print_answer,
    write_output,
)
from sweep.exit_codes import SweepError
from sweep.runs import open_store, results_errors

if TYPE_CHECKING:
    import polars as pl

    from results.ranked_run import RankedRun
    from results.report.figures import Figure

app = typer.Typer(add_completion=False, rich_markup_mode=None)

CHARTS: Final = ("grid", "changes", "vcpus", "memory", "knobs", "time", "overhead", "windows", "trade-off")
"""What results.report.figures.KINDS holds, which help can't afford to import."""
LAYOUTS: Final = ("page", "phone", "paper", "column")
_NEEDS: Final = {
    **dict.fromkeys(CHARTS, "no policy is finished beside the baseline"),
    "vcpus": "its guests all have the same number of vCPUs",
    "memory": "its guests all have the same memory",
    "knobs": "no number varies. A list makes one vary, as in 'policies=[{base: kvm-3.3, flood_threshold: [1, 3, 8]}]'",
}
"""Chart -> why a run may have nothing for it."""


@app.command()
def plot(
    run: RunArgument,
    chart: Annotated[
        str, typer.Option("--chart", metavar="NAME", help=f"Which chart: {', '.join(CHARTS)}.")
    ] = "changes",
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE",
            help="Where it goes: .svg, .png, .pdf, .html or .json; in the terminal if not given.",
            show_default=False,
        ),
    ] = None,
    layout: Annotated[
        str,
        typer.Option("--layout", metavar="NAME", help="Width and letters: paper (two columns), column, page or phone."),
    ] = "paper",
    workload: Annotated[
        str | None,
        typer.Option("--workload", metavar="NAME", help="Workload; the first of the sweep if not given."),
    ] = None,
    knob: Annotated[
        str | None,
        typer.Option("--knob", metavar="NAME", help="Knob of --chart knobs; the first that varies if not given."),
    ] = None,
    costs: CostsOption = None,
    baseline: BaselineOption = None,
    allow_partial: AllowPartialOption = False,
) -> None:
    """Draw one chart of a run: a picture in the terminal, or a file for a paper."""
    _one_of("--chart", chart, CHARTS)
    _one_of("--layout", layout, LAYOUTS)
    if out is not None:
        _form(out)
    if knob is not None and chart != "knobs":
        raise SweepError(f"--knob {knob} is for --chart knobs, not for --chart {chart}; leave it out")
    store = open_store(run)
    notices = notices_about(store, costs=costs)
    # A file is for a program: what is no part of it goes to stderr.
    form = "text" if out is None else "file"
    view = open_view(store, costs=costs, baseline=baseline)
    if knob is not None:
        _check_knob(view, knob)
    with results_errors(run):
        summary = of_workload(view.summary, view.run.spec, workload)
        if out is None:
            answer = _picture(view, summary, chart)
        else:
            figure = _figure(view, summary, chart, knob)
            answer = f"{out}: {figure.title}. {figure.caption}"
            _save(figure, layout, out)
    print_answer(answer, notices, form, allow_partial=allow_partial)


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise SweepError(f"{option} {value}: there is no such name; allowed: {', '.join(allowed)}")


def _check_knob(view: "RankedRun", knob: str) -> None:
    """Raise SweepError unless policies of the run differ in that knob alone, and by a number."""
    from results.charts.curves import knob_families

    varied = list(dict.fromkeys(family.knob for family in knob_families(view)))
    if knob in varied:
        return
    known = list(dict.fromkeys(name for knobs in view.run.knobs.values() for name in knobs))
    what = "no policies of this run differ in this number alone" if knob in known else "there is no such knob"
    if varied:
        raise SweepError(f"--knob {knob}: {what}; allowed: {', '.join(varied)}")
    raise SweepError(f"--knob {knob}: {what}; {_NEEDS['knobs']}")


def of_workload(summary: "pl.DataFrame", spec: Mapping[str, Any], workload: str | None) -> "pl.DataFrame":
    """Return what charts show of a workload, or of the first one; say on stderr what they leave out."""
    import polars as pl

    from results.charts.grid import shown_grid

    there = summary["workload"].unique().to_list()
    named = [case["label"] for case in spec["workloads"]]
    found = [*filter(there.__contains__, named), *sorted({*there} - {*named})]
    if workload is not None:
        _one_of("--workload", workload, tuple(found))
    shown, notes = shown_grid(summary.filter(pl.col("workload") == (workload or found[0])))
    others = [name for name in found if name != workload]
    if workload is None and others[1:]:
        notes = [f"{found[0]} is drawn; --workload also takes {', '.join(others[1:])}.", *notes]
    for note in notes:
        typer.echo(note, err=True)
    return shown


def _picture(view: "RankedRun", summary: "pl.DataFrame", chart: str) -> str:
    from results.charts.terminal import PICTURES

    if chart not in PICTURES:
        raise SweepError(
            f"--chart {chart} has no picture for terminals; those that have one: {', '.join(PICTURES)}. "
            f"Or write it to a file: -o {chart}.svg"
        )
    return PICTURES[chart](view, summary, shutil.get_terminal_size().columns)


def _figure(view: "RankedRun", summary: "pl.DataFrame", chart: str, knob: str | None) -> "Figure":
    from results.report.figures import FIGURES, KINDS, knob_figures

    figures = FIGURES[KINDS[chart]](view, summary) if knob is None else knob_figures(view, summary, knob)
    found = next((figure for figure in figures if figure.kind == chart), None)
    if found is None:
        raise SweepError(f"--chart {chart}: this run has nothing to draw for it; {_NEEDS[chart]}")
    return found


def _save(figure: "Figure", layout: str, out: Path) -> None:
    from results.charts.export import chart_bytes, paper_spec
    from results.charts.theme import LAYOUTS as SIZES

    size = SIZES[layout]
    spec = paper_spec(figure.draw(size), size) | {"description": figure.words}
    write_output(out, chart_bytes(spec, _form(out)))


def _form(out: Path) -> str:
    from results.charts.export import FORMATS

    form = out.suffix.removeprefix(".").lower()
    if form not in FORMATS:
        raise SweepError(f"-o {out}: the ending names no format; allowed: {', '.join(f'.{one}' for one in FORMATS)}")
    return form
