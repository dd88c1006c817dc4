"""`sweep price`: a run under other prices, uncertain ones included, without a new simulation."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from sweep.commands.common import (
    AllowPartialOption,
    BaselineOption,
    CostsOption,
    CsvOption,
    JsonOption,
    MarkdownOption,
    MinEffectOption,
    RunArgument,
    chosen_form,
    notices_about,
    print_answer,
)
from sweep.exit_codes import SweepError
from sweep.runs import open_store, results_errors
from sweep.spec.costs import cost_model_of, split_bound

if TYPE_CHECKING:
    import polars as pl

    from results.compare.uncertainty import Doubt
    from results.notices.notices import Notices

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def price(
    run: RunArgument,
    costs: CostsOption = None,
    sample: Annotated[
        int, typer.Option("--sample", metavar="N", min=0, max=1_000_000, help="Draw N price lists from the ranges.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the drawn price lists.")] = 0,
    baseline: BaselineOption = None,
    min_effect: MinEffectOption = None,
    tornado: Annotated[
        bool, typer.Option("--tornado", help="Only the table of costs: what each one moves and decides.")
    ] = False,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    as_md: MarkdownOption = False,
    allow_partial: AllowPartialOption = False,
) -> None:
    """Price a run anew: which conclusions hold within the ranges of the costs, and which cost decides.

    --costs takes a name or a file, and one end of its ranges as in nehalem-2011:low.
    """
    form = chosen_form(as_json=as_json, as_csv=as_csv, as_md=as_md)
    from results.run import Run
    from results.statistics.verdicts import MINIMUM_EFFECT

    store = open_store(run)
    model = cost_model_of(store, costs)
    if sample and costs is not None and split_bound(costs)[1] != "value":
        raise SweepError(
            f"--costs {costs} is one end of the ranges, --sample draws from all of them; give one of the two"
        )
    effect = MINIMUM_EFFECT if min_effect is None else min_effect
    notices = notices_about(store, costs=costs)
    with results_errors(run):
        opened = Run(store)
        found = opened.price(model, baseline=baseline, samples=sample, seed=seed, minimum_effect=effect)
    text = _render(found, form, notices, baseline=baseline or opened.baseline, only_tornado=tornado)
    print_answer(text, notices, form, allow_partial=allow_partial)


def _render(found: "Doubt", form: str, notices: "Notices", *, baseline: str, only_tornado: bool) -> str:
    from results.compare.uncertainty_table import conclusion_sheets, tornado_sheet
    from results.render import show_sheets

    tables: dict[str, pl.DataFrame] = {"tornado": found.tornado}
    if not only_tornado:
        tables = {"conclusions": found.conclusions, **tables}
    if form == "json":
        content = {name: table.to_dicts() for name, table in tables.items()} | notices.content()
        return json.dumps(content, indent=1, ensure_ascii=False)
    if form == "csv":
        return next(iter(tables.values())).write_csv()
    sheets = [] if only_tornado else list(conclusion_sheets(found.conclusions, baseline))
    return show_sheets([*sheets, tornado_sheet(found.tornado)], form)
