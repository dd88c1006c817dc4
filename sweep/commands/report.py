"""`sweep report`: one page about a run that needs nothing else."""

from pathlib import Path
from typing import Annotated

import typer

from sweep.commands.common import (
    AllowPartialOption,
    BaselineOption,
    CostsOption,
    MinEffectOption,
    RunArgument,
    notices_about,
    open_view,
    print_answer,
    write_output,
)
from sweep.commands.options import command_line
from sweep.runs import open_store, results_errors

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def report(
    run: RunArgument,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="Where the page goes.")] = Path(
        "report.html"
    ),
    costs: CostsOption = None,
    baseline: BaselineOption = None,
    min_effect: MinEffectOption = None,
    allow_partial: AllowPartialOption = False,
) -> None:
    """Write a page with the verdict in words, charts, tables and the data; it works offline and prints well."""
    from results.report.page import report_html
    from sweep.progress import format_bytes

    store = open_store(run)
    notices = notices_about(store, costs=costs)
    view = open_view(store, costs=costs, baseline=baseline, min_effect=min_effect)
    options = {"--costs": costs, "--baseline": baseline, "--min-effect": min_effect}
    words = ["sweep", "report", run, "-o", str(out)]
    words += [word for option, value in options.items() if value is not None for word in (option, f"{value}")]
    words += ["--allow-partial"] if allow_partial else []
    command = command_line(*words)
    with results_errors(run):
        page = report_html(view, command, notices)
    write_output(out, page.encode())
    answer = f"{out}: {format_bytes(out.stat().st_size)}, opens in any browser, without a network"
    print_answer(answer, notices, allow_partial=allow_partial)
