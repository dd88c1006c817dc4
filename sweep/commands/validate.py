"""`sweep validate`: does the engine do what a real KVM did?"""

import os
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def validate(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of recordings of a real KVM.", show_default=False)
    ],
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write a page with plots.", show_default=False)
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option("--markdown", metavar="FILE", help="Also write the page of the documents.", show_default=False),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=0, help="Processes; 0: one per core.")] = 0,
) -> None:
    """Compare the engine with recordings of a real KVM: its rules by event, its predictions by counter and time."""
    import json as json_text

    from sweep.validate.recording_set import RecordingSet
    from sweep.validate.report import text_lines
    from sweep.validate.report import validate as run_checks

    report = run_checks(
        RecordingSet(directory), workers=workers or os.cpu_count() or 1, say=lambda line: typer.echo(line, err=True)
    )
    if json:
        typer.echo(json_text.dumps(report.to_json(), indent=1))
    else:
        typer.echo("\n".join(text_lines(report)))
    if html is not None:
        from sweep.validate.page import write_html

        write_html(report, html)
        typer.echo(f"{html}: written", err=True)
    if markdown is not None:
        from sweep.validate.page import write_markdown

        write_markdown(report, markdown)
        typer.echo(f"{markdown}: written", err=True)
