"""A RayJob for KubeRay with all that it needs, as text that a person can read, change and keep."""

import shlex
from typing import Final

from sweep.cluster.kuberay_options import SHARED_MEMORY, SPEC_FOLDER, KubeRayOptions, check_rayjob, run_folder
from sweep.cluster.rendering import render
from sweep.cluster.request import DRAIN_SECONDS, GO_ON_VARIABLE, JobRequest

_HEAD_CPUS: Final = 2
_HEAD_MEMORY: Final = "8Gi"
"""The head holds the cluster's tables and the driver; Ray's guide asks for 8 GiB on a production head."""
_USER: Final = 1000
"""The user of deploy/Containerfile; its kernel cache belongs to that user."""


def rayjob_manifest(request: JobRequest, options: KubeRayOptions, *, file: str) -> str:
    """Return a ConfigMap with the specification and a RayJob that runs it, as one YAML text; `file` is its name."""
    check_rayjob(request, options)
    stop = f"timeout --signal=TERM --kill-after={DRAIN_SECONDS} {options.size.seconds - DRAIN_SECONDS}"
    command = request.command(shlex.quote(f"{SPEC_FOLDER}/{request.spec_name}"))
    return render(
        "rayjob.yaml.j2",
        request=request,
        options=options,
        size=options.size,
        file=file,
        entrypoint=f"exec {stop} {command}",
        drain_seconds=DRAIN_SECONDS,
        go_on_variable=GO_ON_VARIABLE,
        spec_folder=SPEC_FOLDER,
        shared_memory=SHARED_MEMORY,
        run_folder=run_folder(request.run),
        user=_USER,
        head_cpus=_HEAD_CPUS,
        head_memory=_HEAD_MEMORY,
    )
