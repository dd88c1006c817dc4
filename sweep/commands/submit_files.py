"""`sweep submit` with --kuberay or --slurm: the file that starts a cluster of its own."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from sweep.exit_codes import SweepError

if TYPE_CHECKING:
    from sweep.cluster.options import ClusterSize
    from sweep.cluster.request import JobRequest

STANDARD_OUTPUT: Final = Path("-")
WRITTEN_BY: Final = "Written by `sweep submit --"
"""What the first lines of such a file say."""
_HEAD_BYTES: Final = 1024
"""Where they end, with a sweep's name in them."""


def cluster_size(*, workers: int, cpus: int, memory: str, time: str) -> "ClusterSize":
    """Return what each mode that writes a file asks for."""
    from sweep.cluster.options import NODE_BYTES_MIN, ClusterSize, parse_memory, parse_time
    from sweep.cluster.request import DRAIN_SECONDS

    return ClusterSize(
        workers=workers,
        cpus=cpus,
        memory_mib=parse_memory("--memory", memory, at_least=NODE_BYTES_MIN) >> 20,
        seconds=parse_time("--time", time, more_than=DRAIN_SECONDS),
    )


def rayjob(
    request: "JobRequest",
    size: "ClusterSize",
    *,
    image: str,
    claim: str | None,
    secret: str | None,
    ttl: int,
    file: Path,
) -> str:
    """Return a RayJob."""
    from importlib.metadata import version

    from sweep.cluster.kuberay import KubeRayOptions, rayjob_manifest
    from sweep.cluster.options import check_image, check_object_name

    options = KubeRayOptions(
        size=size,
        image=check_image("--image", image),
        ttl_seconds=ttl,
        ray_version=version("ray"),
        claim=None if claim is None else check_object_name("--claim", claim),
        secret=None if secret is None else check_object_name("--secret", secret),
    )
    return rayjob_manifest(request, options, file=_file_name(file, f"{request.name}.yaml"))


def sbatch(request: "JobRequest", size: "ClusterSize", *, partition: str | None, file: Path) -> str:
    """Return an sbatch script."""
    from sweep.cluster.options import check_words
    from sweep.cluster.slurm import SlurmOptions, sbatch_script

    options = SlurmOptions(size=size, partition=None if partition is None else check_words("--partition", partition))
    name = _file_name(file, f"{request.name}.sbatch")
    return sbatch_script(request, options, file=name)


def _file_name(file: Path, default: str) -> str:
    """Return the name by which comments in a file call it."""
    from sweep.cluster.options import check_line

    return default if file == STANDARD_OUTPUT else check_line("FILE", file.name)


def write(text: str, file: Path, *, dry_run: bool) -> None:
    """Write a file, or print it; what was not written by `sweep submit` is not overwritten."""
    if dry_run or file == STANDARD_OUTPUT:
        typer.echo(text, nl=False)
        return
    try:
        if file.is_file() and not _is_ours(file):
            raise SweepError(
                f"{file}: is there already, and `sweep submit` has not written it\n  give another place, or remove it"
            )
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SweepError(f"{file}: can't be written: {error.strerror}; give another place") from error
    typer.echo(f"written: {file}; its first lines say how to start it", err=True)


def _is_ours(file: Path) -> bool:
    with file.open("rb") as stream:
        return WRITTEN_BY.encode() in stream.read(_HEAD_BYTES)
