"""`sweep prices`: prices that are measured on recordings of a real KVM."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.callback()
def prices() -> None:
    """Measure what each event costs a real KVM, in instructions, from recordings of it."""


@app.command("measure")
def measure_command(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Folders of recordings of a real KVM.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE", help="Write the cost model, as YAML.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every digit.")] = False,
) -> None:
    """Measure path lengths: instructions per counted event, with n, median, p10 and p90.

    Reads events/nested-*.parquet, exits-*.parquet and functions.parquet of each DIR; where there are direct recordings
    and counters.csv, totals of workloads are fitted to the engine's counters as well. Exit code: 0 measured, 1 a
    recording can't be used (nothing is written), 2 the command line is wrong.
    """
    import json

    from sweep.exit_codes import SweepError, TraceError
    from sweep.prices.measuring import measure_folders
    from sweep.prices.writing import model_yaml, shown_command, text_lines, to_json

    if out is not None and out.suffix not in {".yaml", ".yml"}:
        raise SweepError(f"--out {out}: a cost model is a YAML file; give a name that ends in .yaml")
    if out is not None and not out.parent.is_dir():
        raise SweepError(f"--out {out}: there is no folder {out.parent}; make it, or give another")
    measured = measure_folders(folders, say=lambda line: typer.echo(line, err=True))
    if as_json:
        typer.echo(json.dumps(to_json(measured), indent=1))
    else:
        typer.echo("\n".join(text_lines(measured)))
    if out is not None:
        command = shown_command([folder.name for folder in folders], out.name)
        try:
            out.write_text(model_yaml(measured, name=out.stem, command=command), encoding="utf-8")
        except OSError as error:
            raise TraceError(f"{out}: can't be written ({error.strerror}); give another place") from error
        typer.echo(f"{out}: written", err=True)
