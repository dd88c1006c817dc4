"""`sweep status`: how far a run or a job is."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweep.commands.jobs_common import AddressOption
from sweep.exit_codes import SweepError
from sweep.runs import RUNS, results_errors

if TYPE_CHECKING:
    from sweep.cluster.jobs import Job
    from sweep.status import RunReader

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def status(
    name: Annotated[
        str | None, typer.Argument(metavar="[RUN|JOB]", help="Folder or URL of a run, or name of a job.")
    ] = None,
    address: AddressOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Look again until the run is complete.")] = False,
    every: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="How often --watch looks.")] = 5.0,
) -> None:
    """Say how far a run or a job is; with no name, all runs here.

    Those are the runs in ./runs, and all jobs of the cluster if one is given.
    """
    from sweep.status import RunReader

    if watch and (name is None or not _is_run(name)):
        raise SweepError(
            "--watch: looks at one run; give its folder or URL\n  `sweep logs JOB --follow` ends when a job does"
        )
    if name is None:
        _show_all(address, as_json=as_json)
    elif _is_run(name):
        with results_errors(name):
            _show_run(RunReader(name), as_json=as_json, every=every if watch else None)
    elif address is None:
        there = RUNS / name
        hint = (
            f"did you mean `sweep status {there}`?"
            if (there / "spec.json").exists()
            else "for a job give --address http://head:8265, for a run its folder"
        )
        raise SweepError(f"{name}: no run of that name\n  {hint}")
    else:
        _show_job(name, address, as_json=as_json)


def _is_run(name: str) -> bool:
    from results.store.opening import is_url

    return is_url(name) or "/" in name or (Path(name) / "spec.json").exists()


def _show_run(reader: "RunReader", *, as_json: bool, every: float | None) -> None:
    from sweep.status import status_lines

    while True:
        found = reader.look()
        typer.echo(json.dumps(found.content()) if as_json else "\n".join(status_lines(found)))
        if every is None or found.is_complete or found.is_over:
            return
        time.sleep(every)
        if not as_json:
            typer.echo()


def _show_all(address: str | None, *, as_json: bool) -> None:
    from sweep.status import RunReader, status_row

    found, damaged = [], []
    # One that has lost its specification is to be seen.
    for path in sorted({path.parent for name in ("spec.json", "manifest") for path in RUNS.glob(f"*/{name}")}):
        try:
            with results_errors(str(path)):
                found.append(RunReader(str(path)).look())
        except SweepError as error:
            damaged.append(f"{path}  can't be read: {error}")
    jobs = _jobs(address)
    if as_json:
        content = {
            "runs": [one.content() for one in found],
            "damaged": damaged,
            "jobs": [_content(job) for job in jobs],
        }
        typer.echo(json.dumps(content, indent=1))
        return
    lines = [*[status_row(one) for one in found], *damaged] or [f"no run in ./{RUNS}"]
    lines += [f"{job.submission_id}  {job.status}  {job.metadata.get('run', '')}" for job in jobs]
    typer.echo("\n".join(lines))


def _jobs(address: str | None) -> "list[Job]":
    if address is None:
        return []
    from sweep.cluster.jobs import Jobs

    return Jobs(address).all()


def _show_job(name: str, address: str, *, as_json: bool) -> None:
    from sweep.cluster.jobs import Jobs
    from sweep.cluster.request import as_table

    content = _content(Jobs(address).get(name))
    typer.echo(json.dumps(content, indent=1) if as_json else as_table({k: v for k, v in content.items() if v != ""}))


def _content(job: "Job") -> dict[str, Any]:
    return {
        "job": job.submission_id,
        "status": job.status,
        "exit_code": "" if job.exit_code is None else job.exit_code,
        "started": job.started,
        "ended": job.ended,
        "sweep": job.metadata.get("sweep", ""),
        "run": job.metadata.get("run", ""),
        "entrypoint": job.entrypoint,
        "message": next(iter(job.message.splitlines()), ""),
    }
