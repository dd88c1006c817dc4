"""`sweep submit`: a sweep as a batch job, on a Ray cluster that runs or on one that the job starts."""

import json
import os
import platform
import sys
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from results.wording import counted
from sweep.commands.common import NameOption, OverrideOption, SpecArgument, all_overrides, read_sweep
from sweep.commands.jobs_common import AddressOption, needed_address
from sweep.commands.options import command_line
from sweep.exit_codes import SweepError
from sweep.runs import results_errors, run_location
from sweep.tasks.failures import without_secrets

if TYPE_CHECKING:
    from sweep.cluster.jobs import JobPlan
    from sweep.cluster.request import JobRequest

app = typer.Typer(add_completion=False, rich_markup_mode=None)
_ADDRESS, _KUBERAY, _SLURM = "--address", "--kuberay", "--slurm"
_MODES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        **dict.fromkeys(
            ("address", "as_json", "wait", "again", "upload_code", "driver_cpus", "driver_memory", "resource"),
            frozenset({_ADDRESS}),
        ),
        **dict.fromkeys(("workers", "cpus", "memory", "time"), frozenset({_KUBERAY, _SLURM})),
        **dict.fromkeys(("image", "claim", "secret", "ttl"), frozenset({_KUBERAY})),
        "partition": frozenset({_SLURM}),
    }
)
"""Option -> the modes to which it belongs; options that are not here belong to all. A job at an address is a mode."""
_ONCE: Final = frozenset({"dry_run", "as_json", "wait", "again"})
"""Options that a later submission of the same sweep need not repeat."""


@app.command()
def submit(
    context: typer.Context,
    spec: SpecArgument,
    overrides: OverrideOption = None,
    name: NameOption = None,
    out: Annotated[str | None, typer.Option("--out", metavar="RUN", help="The run, as all nodes see it.")] = None,
    address: AddressOption = None,
    kuberay: Annotated[
        Path | None, typer.Option("--kuberay", metavar="FILE", help="Write a RayJob for KubeRay; `-` is stdout.")
    ] = None,
    slurm: Annotated[
        Path | None, typer.Option("--slurm", metavar="FILE", help="Write an sbatch script; `-` is stdout.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be submitted.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Print the log; end with the job's exit code.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Start it even if it has succeeded before.")] = False,
    upload_code: Annotated[bool, typer.Option("--upload-code", help="Run this code, not what is there.")] = False,
    python: Annotated[str | None, typer.Option(help="Python there; on Slurm this one, else `python`.")] = None,
    driver_cpus: Annotated[float, typer.Option(min=0, help="CPUs that Ray keeps for the driver.")] = 0.0,
    driver_memory: Annotated[str | None, typer.Option(help="Memory that Ray keeps for the driver.")] = None,
    resource: Annotated[list[str] | None, typer.Option(metavar="NAME=N", help="Ray resource of the driver.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Worker pods, or Slurm nodes.")] = 4,
    cpus: Annotated[int, typer.Option(min=1, help="CPUs of each.")] = 8,
    memory: Annotated[str, typer.Option(help="Memory of each.")] = "16G",
    time: Annotated[str, typer.Option(metavar="[D-]HH:MM:SS", help="Time of the job.")] = "12:00:00",
    image: Annotated[str, typer.Option(help="KubeRay: made from deploy/Containerfile.")] = "shadowsweep:latest",
    claim: Annotated[str | None, typer.Option(help="KubeRay: volume claim that holds the run.")] = None,
    secret: Annotated[str | None, typer.Option(help="KubeRay: Secret for an object store.")] = None,
    ttl: Annotated[int, typer.Option(min=0, help="KubeRay: seconds that the cluster outlives the job.")] = 60,
    partition: Annotated[str | None, typer.Option(help="Slurm: partition.")] = None,
) -> None:
    """Hand a sweep to a Ray cluster, or write what starts one on KubeRay or Slurm."""
    from sweep.cluster.job_files import cluster_size, sbatch_script

    if kuberay is not None and slurm is not None:
        raise SweepError("--kuberay and --slurm exclude each other; give one of them")
    if kuberay is not None and out is None:
        raise SweepError(
            "--kuberay: where do results go? Give --out /runs/NAME with --claim, or --out s3://BUCKET/NAME"
        )
    mode = _SLURM if slurm is not None else _ADDRESS if kuberay is None else _KUBERAY
    _check_options(context, mode)
    words = all_overrides(overrides, name)
    request = _request(spec, words, out=out, python=python or ("python" if slurm is None else sys.executable))
    if kuberay is not None:
        from sweep.cluster.kuberay import rayjob_manifest

        size = cluster_size(workers=workers, cpus=cpus, memory=memory, time=time)
        text = rayjob_manifest(request, size, image=image, claim=claim, secret=secret, ttl=ttl, file=kuberay)
        _write(text, kuberay, dry_run=dry_run)
    elif slurm is not None:
        size = cluster_size(workers=workers, cpus=cpus, memory=memory, time=time)
        _write(sbatch_script(request, size, partition=partition, file=slurm), slurm, dry_run=dry_run)
    else:
        plan = _plan(request, cpus=driver_cpus, memory=driver_memory, resource=resource, upload_code=upload_code)
        plan = plan.going_on(_go_on(context, address))
        if dry_run:
            _show(request, plan, address, as_json=as_json)
        else:
            _start(request, plan, needed_address(address), again=again, as_json=as_json, wait=wait)


def _go_on(context: typer.Context, address: str | None) -> str:
    """Return the command that submits the job again, as it was typed, with its address."""
    words = ["sweep", "submit"]
    for parameter in context.command.params:
        name, value = parameter.name or "", context.params.get(parameter.name or "")
        if name in _ONCE or name == "address" or _source(context, name) != "COMMANDLINE":
            continue
        option = [] if parameter.param_type_name == "argument" else [parameter.opts[0]]
        values = value if isinstance(value, list) else [value]
        words += option if value is True else [word for one in values for word in (*option, str(one))]
    return command_line(*words, *([] if address is None else ["--address", address]))


def _source(context: typer.Context, name: str) -> str:
    source = context.get_parameter_source(name)
    return "" if source is None else source.name


def _check_options(context: typer.Context, mode: str) -> None:
    """Refuse what was typed and would not be used."""
    for parameter in context.command.params:
        modes = _MODES.get(parameter.name or "", frozenset({mode}))
        if mode not in modes and _source(context, parameter.name or "") == "COMMANDLINE":
            raise SweepError(
                f"{parameter.opts[0]}: goes with {' or '.join(sorted(modes))}, and this is "
                f"{'a job' if mode == _ADDRESS else mode}\n  leave it out, or see `sweep submit --help`"
            )


def _request(path: Path, overrides: tuple[str, ...], *, out: str | None, python: str) -> "JobRequest":
    from sweep.cluster.options import check_line
    from sweep.cluster.request import JobRequest, check_portable
    from sweep.plan.cell import engine_fingerprint

    for option, text in (("SPEC", str(path)), ("--out", out), ("--python", python), *(("-s", o) for o in overrides)):
        check_line(option, text or "")
    sweep = read_sweep(path, overrides)
    check_portable(path, sweep, lambda other: read_sweep(other, overrides))
    return JobRequest(
        spec=sweep,
        spec_name=path.name,
        spec_text=path.read_text(encoding="utf-8"),
        overrides=overrides,
        run=_shared_run(run_location(sweep.name, out)),
        python=python,
        fingerprint=engine_fingerprint(),
    )


def _shared_run(run: str) -> str:
    """Return a run as every node calls it: a URL in its one spelling, or an absolute path."""
    from results.store.opening import checked_url, is_url

    with results_errors():
        # Links stay as the user wrote them: nodes may mount the target elsewhere.
        return checked_url(run) if is_url(run) else os.path.abspath(run)  # noqa: PTH100  resolve() follows links.


def _write(text: str, file: Path, *, dry_run: bool) -> None:
    """Write a file, or print it; what was not written by `sweep submit` is not overwritten."""
    from sweep.cluster.job_files import STANDARD_OUTPUT, may_be_written

    if dry_run or file == STANDARD_OUTPUT:
        typer.echo(text, nl=False)
        return
    try:
        if not may_be_written(file):
            raise SweepError(
                f"{file}: is there already, and `sweep submit` has not written it\n  give another place, or remove it"
            )
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SweepError(f"{file}: can't be written: {error.strerror}; give another place") from error
    typer.echo(f"written: {file}; its first lines say how to start it", err=True)


def _plan(
    request: "JobRequest", *, cpus: float, memory: str | None, resource: list[str] | None, upload_code: bool
) -> "JobPlan":
    from sweep.cluster.jobs import plan_job
    from sweep.cluster.options import parse_memory, parse_resources

    if not isfinite(cpus):
        raise SweepError(f"--driver-cpus {cpus}: no number of CPUs; give one such as 1")
    return plan_job(
        request,
        cpus=cpus,
        memory_bytes=None if memory is None else parse_memory("--driver-memory", memory),
        resources=parse_resources("--resource", resource or ()),
        upload_code=upload_code,
    )


def _show(request: "JobRequest", plan: "JobPlan", address: str | None, *, as_json: bool) -> None:
    from sweep.cluster.jobs import uploaded
    from sweep.cluster.request import as_table
    from sweep.progress import format_bytes

    files = uploaded(request, plan)
    shown = None if address is None else without_secrets(address)
    content: dict[str, Any] = {"address": shown, **plan.content(), "uploads": files, "core": _core_from(files)}
    if as_json:
        typer.echo(json.dumps(content, indent=1, allow_nan=False))
        return
    memory = "none: give --driver-memory" if plan.entrypoint_memory is None else format_bytes(plan.entrypoint_memory)
    flat = {**content, "address": shown or "none: give --address", "entrypoint_memory": memory}
    tops = dict.fromkeys(name.partition("/")[0] for name in files)
    sizes = {top: [size for name, size in files.items() if name.partition("/")[0] == top] for top in tops}
    flat["uploads"] = ", ".join(
        f"{top} ({counted(len(found), 'file')}, {format_bytes(sum(found))})"
        if top not in files
        else f"{top} ({format_bytes(files[top])})"
        for top, found in sizes.items()
    )
    for name in ("runtime_env", "metadata", "entrypoint_resources"):
        flat[name] = json.dumps(flat[name])
    typer.echo(as_table(flat))


def _core_from(files: Mapping[str, int]) -> str:
    """Say how the engine's core, which is compiled, gets to where the job runs."""
    built = next((name for name in files if name.startswith("engine/_core.")), None)
    if built is not None:
        return f"{built} is uploaded; it runs on {platform.machine()} with Linux and Python 3.11 or later"
    return "what is installed there; `sweep doctor --address` compares it with the one here"


def _start(request: "JobRequest", plan: "JobPlan", address: str, *, again: bool, as_json: bool, wait: bool) -> None:
    from sweep.cluster.jobs import Jobs

    jobs = Jobs(address)
    job, is_new = jobs.submit(request, plan, again=again)
    if as_json:
        typer.echo(json.dumps({"submission_id": job.submission_id, "new": is_new, "run": request.run}, indent=1))
    else:
        what = "submitted" if is_new else f"nothing started: this job is there already ({job.status})"
        at = f"{job.submission_id} --address {without_secrets(address)}"
        typer.echo(f"{what}: {job.submission_id}\n  sweep status {at}\n  sweep logs {at} --follow")
        typer.echo(f"  sweep status {request.run}")
        if not is_new and job.status == "SUCCEEDED":
            typer.echo("  to start it once more, as after its run was removed: --again")
    if wait:
        ended = jobs.follow(job.submission_id, lambda text: typer.echo(text, nl=False, err=as_json))
        if ended.code:
            raise typer.Exit(ended.code)
