"""A RayJob for KubeRay with all that it needs, as text that a person can read, change and keep."""

import re
import shlex
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Final

from sweep.cluster.job_files import file_name, render_file
from sweep.cluster.options import ClusterSize, check_image, check_object_name
from sweep.cluster.request import DRAIN_SECONDS, GO_ON_VARIABLE, JobRequest
from sweep.exit_codes import SweepError

_SPEC_FOLDER: Final = "/etc/sweep"
_SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108  The pods' own, and where Ray looks for it.
_CODE_FOLDER: Final = "/opt/sweep"
"""Where deploy/Containerfile puts the code."""
_CONFIG_MAP_BYTES_MAX: Final = 1 << 20
"""What Kubernetes stores in one ConfigMap."""
_CONFIG_MAP_KEY: Final = re.compile(r"(?!\.\.)[-._a-zA-Z0-9]{1,253}")
_COUNT_MAX: Final = (1 << 31) - 1
"""Replicas and seconds are int32 in KubeRay's CRD."""
_START_SECONDS: Final = 900
"""What pulling images and starting pods may take beyond the time of the sweep (assumption)."""
_HEAD_CPUS: Final = 2
_HEAD_MEMORY: Final = "8Gi"
"""The head holds the cluster's tables and the driver; Ray's guide asks for 8 GiB on a production head."""
_USER: Final = 1000
"""The user of deploy/Containerfile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeRayOptions:
    """What a RayJob needs to know beside the sweep."""

    image: str
    size: ClusterSize
    ttl_seconds: int
    ray_version: str
    claim: str | None
    """PersistentVolumeClaim that all pods mount at the folder of the run; None for object stores."""
    secret: str | None
    """Secret whose entries become environment variables: the credentials of an object store."""

    @property
    def deadline_seconds(self) -> int:
        """After how long KubeRay ends the job, whatever it does."""
        return self.size.seconds + _START_SECONDS


def rayjob_manifest(
    request: JobRequest,
    size: ClusterSize,
    *,
    image: str,
    claim: str | None,
    secret: str | None,
    ttl: int,
    file: Path,
) -> str:
    """Return a ConfigMap with the specification and a RayJob that runs it, as one YAML text for `file`."""
    options = KubeRayOptions(
        size=size,
        image=check_image("--image", image),
        ttl_seconds=ttl,
        ray_version=version("ray"),
        claim=None if claim is None else check_object_name("--claim", claim),
        secret=None if secret is None else check_object_name("--secret", secret),
    )
    _check_rayjob(request, options)
    stop = f"timeout --signal=TERM --kill-after={DRAIN_SECONDS} {options.size.seconds - DRAIN_SECONDS}"
    command = request.command(shlex.quote(f"{_SPEC_FOLDER}/{request.spec_name}"))
    return render_file(
        "rayjob.yaml.j2",
        request=request,
        options=options,
        size=options.size,
        file=file_name(file, f"{request.name}.yaml"),
        entrypoint=f"exec {stop} {command}",
        drain_seconds=DRAIN_SECONDS,
        go_on_variable=GO_ON_VARIABLE,
        spec_folder=_SPEC_FOLDER,
        shared_memory=_SHARED_MEMORY,
        run_folder=_run_folder(request.run),
        user=_USER,
        head_cpus=_HEAD_CPUS,
        head_memory=_HEAD_MEMORY,
    )


def _check_rayjob(request: JobRequest, options: KubeRayOptions) -> None:
    """Refuse what would make a manifest that is not taken, or that does something else than it says.

    Raises:
        SweepError: it names the option.
    """
    _check_specification(request)
    _check_run(request.run, options.claim)
    _check_counts(options)
    _check_text(request)


def _run_folder(run: str) -> PurePosixPath:
    """Return where the claim is mounted: the parent of the run."""
    return PurePosixPath(run).parent


def _check_specification(request: JobRequest) -> None:
    if len(request.spec_text.encode()) > _CONFIG_MAP_BYTES_MAX:
        raise SweepError(f"{request.spec_name}: more than 1 MiB does not fit a ConfigMap; put it into the image")
    if not _CONFIG_MAP_KEY.fullmatch(request.spec_name):
        raise SweepError(
            f"{request.spec_name}: no name for a file in a ConfigMap\n"
            "  it has letters, digits, '.', '_' and '-', at most 253; rename the file"
        )


def _check_run(run: str, claim: str | None) -> None:
    if "://" in run:
        if claim is not None:
            raise SweepError(f"--claim {claim}: a claim holds a folder, and --out is a URL\n  leave --claim out")
        return
    if claim is None:
        raise SweepError(
            f"--out {run}: pods share no file system\n"
            "  give --claim NAME, a PersistentVolumeClaim (ReadWriteMany) mounted at the parent of that folder,\n"
            "  or an object store, as in --out s3://bucket/run with --secret NAME"
        )
    folder = _run_folder(run)
    for taken in (_SPEC_FOLDER, _SHARED_MEMORY, _CODE_FOLDER):
        if folder.is_relative_to(taken) or PurePosixPath(taken).is_relative_to(folder):
            raise SweepError(
                f"--out {run}: the claim would be mounted at {folder}, and pods have {taken} of their own\n"
                "  give a folder apart from it, such as /runs/smoke"
            )
    if ":" in str(folder):
        raise SweepError(f"--out {run}: Kubernetes mounts nothing at a path with ':'\n  give a path without it")


def _check_counts(options: KubeRayOptions) -> None:
    counts = (
        ("--workers", options.size.workers),
        ("--ttl", options.ttl_seconds),
        (f"--time with {_START_SECONDS} s for the start:", options.deadline_seconds),
    )
    for option, count in counts:
        if count > _COUNT_MAX:
            raise SweepError(f"{option} {count}: KubeRay counts to {_COUNT_MAX}\n  give less")


def _check_text(request: JobRequest) -> None:
    """Refuse what is replaced on its way: the entrypoint is an argument of a pod, metadata a word of its shell."""
    texts = (("--out", request.run), ("--python", request.python), *(("-s", text) for text in request.overrides))
    for option, text in texts:
        if "$" in text or "`" in text:
            raise SweepError(
                f"{option} {text}: Kubernetes and the shell of the submitter replace what follows '$' or '`'\n"
                "  give the text that is meant, without these signs"
            )
