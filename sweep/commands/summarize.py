"""`sweep summarize`: a finished or unfinished run under any prices."""

from typing import Annotated

import typer

from sweep.commands.common import BaselineOption, CostsOption, RunArgument, open_store, results_errors
from sweep.exit_codes import SweepError

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def summarize(
    run: RunArgument,
    costs: CostsOption = None,
    baseline: BaselineOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, without the published comparison.")] = False,
    as_md: Annotated[bool, typer.Option("--md", help="Print Markdown.")] = False,
) -> None:
    """Print per guest and workload how the policies compare."""
    from sweep.closing import render_summary

    forms = [form for form, wanted in (("json", as_json), ("csv", as_csv), ("md", as_md)) if wanted]
    if len(forms) > 1:
        raise SweepError("--json, --csv and --md exclude each other; give one of them")
    store = open_store(run)
    with results_errors():
        text = render_summary(store, form=forms[0] if forms else "text", costs=costs, baseline=baseline)
    if text is None:
        raise SweepError(f"{run}: no cell is finished yet; run the sweep first")
    typer.echo(text, nl=not text.endswith("\n"))
