"""`sweep trace`: import, inspect and record what processes do, and derive process templates from it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from results.wording import counted
from sweep.exit_codes import ExitCode, SweepError
from sweep.terminal import printable

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback()
def trace() -> None:
    """Record, import and inspect traces of what processes do (layer 1)."""


@app.command("import")
def import_recording(
    file: Annotated[
        Path,
        typer.Argument(
            help="text of `perf script`, plain, .gz or .zst (- reads standard input), or events of a real KVM"
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="trace to write [default: ./NAME.operations.parquet, ./NAME.events.parquet for kvm-truth]",
        ),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="auto, perf or kvm-truth")] = "auto",
    strict: Annotated[bool, typer.Option("--strict", help="write nothing if any line can't be read")] = False,
    allow_unsound: Annotated[
        bool,
        typer.Option(
            "--allow-unsound", help="write the trace of an unsound recording; every answer will say why it is"
        ),
    ] = False,
) -> None:
    """Turn a recording into a trace (Parquet).

    Lines that can't be read are counted and the first 20 are shown; with --strict they make the import fail. An unsound
    recording, from which answers would be wrong (lost events, times that fall back, no exits), is refused with the
    reasons. Exit code: 0 the trace is written, 1 the recording can't be used (nothing is written), 2 the command line
    is wrong.
    """
    from sweep.recordings.importing import (
        FORMATS,
        default_output,
        describe_defects,
        describe_report,
        detect_format,
        import_kvm_truth,
        import_perf,
    )

    if form not in FORMATS:
        _fail(f"--format {form}: unknown; choose one of: {', '.join(FORMATS)}", ExitCode.USAGE)
    with _errors_told():
        found = detect_format(file) if form == "auto" else form
        output = out or default_output(file, found)
        if found == "kvm-truth":
            import_kvm_truth(file, output)
        else:
            report = import_perf(file, output, strict=strict, allow_unsound=allow_unsound)
            typer.echo("\n".join(describe_report(report)))
            for line in describe_defects(report):
                typer.echo(line, err=True)
    typer.echo(f"wrote {output} ({output.stat().st_size / 1e6:,.1f} MB)")


@app.command("info")
def show_info(
    file: Annotated[Path, typer.Argument(help="a trace, or text of `perf script`; - reads standard input")],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of tables")] = False,
) -> None:
    """Show processes, faults, forks, vforks, threads, execs and switches, per command name.

    Exit code: 0, or 1 if the file can't be used.
    """
    from sweep.recordings.importing import summarise
    from sweep.recordings.soundness import unsound_reasons_of_source
    from sweep.recordings.summary import summary_text

    with _errors_told():
        summary, source = summarise(file)
    if as_json:
        import json

        typer.echo(json.dumps(summary.to_dict() | {"source": source}, indent=2))
        return
    typer.echo(summary_text(summary, source), nl=False)
    if source.get("unreadable"):
        typer.echo(
            f"{file}: {counted(source['unreadable'], 'line')} could not be read; `sweep trace import` shows them",
            err=True,
        )
    for reason in unsound_reasons_of_source(source):
        typer.echo(f"{file}: unsound: {printable(reason)}", err=True)


@app.command("record", context_settings={"ignore_unknown_options": True})
def record_command(
    command: Annotated[list[str], typer.Argument(help="the command to record, after --")],
    out: Annotated[Path, typer.Option("-o", "--out", help="perf's file; text and trace go beside it")] = Path(
        "recording.data"
    ),
    run: Annotated[bool, typer.Option("--run", help="record now, then import")] = False,
) -> None:
    """Print the exact perf commands that record CMD on this machine, and what is missing for them.

    Exit code: 0 nothing is missing (with --run: the trace is written), 1 something is missing or a command failed.
    """
    from sweep.recordings.importing import describe_defects, describe_report
    from sweep.recordings.record import describe, probe, problems, record

    typer.echo("\n".join(describe(command, out)))
    missing = problems(probe())
    if missing:
        _fail("\n".join(f"missing: {text}" for text in missing), ExitCode.CELLS_FAILED)
    if not run:
        return
    with _errors_told():
        report = record(command, out)
    typer.echo("\n".join([*describe_report(report), *describe_defects(report)]))


@app.command("templates")
def derive_templates(
    file: Annotated[Path, typer.Argument(help="recording of a kernel build: a trace, or text of `perf script`")],
    out: Annotated[Path, typer.Option("-o", "--out", help="template file to write")],
) -> None:
    """Derive the process templates of the kernbench generator from a recording of a kernel build.

    Exit code: 0, or 1 if the recording can't be used.
    """
    from sweep.recordings.importing import check_sound, read_recording
    from sweep.recordings.templates import Recording, derive_file

    try:
        check_sound(file)
        operations, comms = read_recording(file)
        derive_file(Recording(operations=operations, comms=comms), file, out)
    except (SweepError, ValueError) as error:
        _fail(f"{file}: {error}", getattr(error, "exit_code", ExitCode.CELLS_FAILED))
    typer.echo(f"wrote {out} ({out.stat().st_size / 1e6:,.1f} MB)")


@app.command("array")
def write_array_file(
    file: Annotated[Path, typer.Argument(help="an imported trace (Parquet)")],
    out: Annotated[Path, typer.Option("-o", "--out", help="array to write, FILE.npy")],
) -> None:
    """Store a trace as the array that the workload `recorded` replays.

    Exit code: 0, or 1 if the trace can't be used.
    """
    from sweep.recordings.array_file import unsound_reasons_of, write_array

    with _errors_told():
        count = write_array(file, out)
    for reason in unsound_reasons_of(out):
        typer.echo(f"{out}: unsound: {printable(reason)}", err=True)
    typer.echo(f"wrote {out} ({counted(count, 'operation')}, {out.stat().st_size / 1e6:,.1f} MB)")


@contextmanager
def _errors_told() -> Iterator[None]:
    try:
        yield
    except SweepError as error:
        _fail(str(error), error.exit_code)


def _fail(message: str, code: int) -> NoReturn:
    """Print a message to standard error and end."""
    typer.echo(message, err=True)
    raise typer.Exit(code)
