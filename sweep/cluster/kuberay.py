"""A RayJob for KubeRay with all that it needs, as text that a person can read, change and keep."""

import json
import shlex
from typing import Any, Final

from sweep.cluster.kuberay_options import SHARED_MEMORY, SPEC_FOLDER, KubeRayOptions, check_rayjob, run_folder
from sweep.cluster.request import DRAIN_SECONDS, GO_ON_VARIABLE, JobRequest

_HEAD_CPUS: Final = 2
_HEAD_MEMORY: Final = "8Gi"
"""The head holds the cluster's tables and the driver; Ray's guide asks for 8 GiB on a production head."""
_USER: Final = 1000
"""The user of deploy/Containerfile; its kernel cache belongs to that user."""


def rayjob_manifest(request: JobRequest, options: KubeRayOptions, *, file: str) -> str:
    """Return a ConfigMap with the specification and a RayJob that runs it, as one YAML text; `file` is its name."""
    check_rayjob(request, options)
    return "\n".join(
        [
            *_header(request, options, file),
            *_config_map(request),
            "---",
            *_job(request, options, file),
            *_submitter(options),
            "  rayClusterSpec:",
            f"    rayVersion: {_text(options.ray_version)}",
            "    # The operator makes a token and gives it to all pods: without it nobody talks to the cluster.",
            "    authOptions: {mode: token}",
            *_head(request, options),
            *_workers(request, options),
        ]
    ) + "\n"  # fmt: skip


def _header(request: JobRequest, options: KubeRayOptions, file: str) -> list[str]:
    name = request.name
    return [
        f"# {request.spec.name} on KubeRay. Written by `sweep submit --kuberay`; change it as you like.",
        "# Needs the KubeRay operator 1.5.1 or later.",
        "#",
        f"# Start:              kubectl apply -f {file}",
        f"# Watch:              kubectl get rayjob {name} -w",
        f"#                     sweep status {request.run}",
        f"# Go on, once ended:  kubectl replace --force -f {file}   (finished cells are not repeated)",
        f"# Stop:               kubectl delete -f {file}            (what is finished stays)",
        "#",
        f"# {DRAIN_SECONDS} s before the end of its {options.size.seconds} s the driver is asked to stop and commits.",
        "# If the head is lost, the job ends and the same command goes on: the run is the state, not the cluster.",
        "# To outlive the head instead, give Ray a Redis (gcsFaultToleranceOptions, KubeRay 1.3); a sweep needs none.",
    ]  # fmt: skip


def _config_map(request: JobRequest) -> list[str]:
    return [
        "apiVersion: v1",
        "kind: ConfigMap",
        "metadata:",
        f"  name: {request.name}-spec",
        "data:",
        # The number: a first line that begins with a blank would else set the indentation of all.
        f"  {_text(request.spec_name)}: |2",
        *(f"    {line}".rstrip() for line in request.spec_text.rstrip("\n").split("\n")),
    ]


def _job(request: JobRequest, options: KubeRayOptions, file: str) -> list[str]:
    stop = f"timeout --signal=TERM --kill-after={DRAIN_SECONDS} {options.size.seconds - DRAIN_SECONDS}"
    command = request.command(f"{SPEC_FOLDER}/{request.spec_name}")
    return [
        "apiVersion: ray.io/v1",
        "kind: RayJob",
        "metadata:",
        f"  name: {request.name}",
        "  labels:",
        "    app.kubernetes.io/name: shadowsweep",
        "spec:",
        "  # The driver; `exec` so that a signal reaches it.",
        f"  entrypoint: {_text(f'exec {stop} {command}')}",
        "  metadata:",
        *(f"    {key}: {_text(value)}" for key, value in request.metadata().items()),
        "  runtimeEnvYAML: |",
        "    env_vars:",
        f'      RAY_JOB_STOP_WAIT_TIME_S: "{DRAIN_SECONDS}"',
        '      PYTHONUNBUFFERED: "1"',
        f"      {GO_ON_VARIABLE}: {_text(f'kubectl replace --force -f {shlex.quote(file)}')}",
        "  submissionMode: K8sJobMode",
        "  # The cluster goes so many seconds after the job; the RayJob and its log stay until they are deleted.",
        "  shutdownAfterJobFinishes: true",
        f"  ttlSecondsAfterFinished: {options.ttl_seconds}",
        "  # A backstop: the time of the sweep, and what pulling images and starting pods may take.",
        f"  activeDeadlineSeconds: {options.deadline_seconds}",
        "  # No second attempt by itself: it would meet the same cause. The run knows what is missing.",
        "  backoffLimit: 0",
    ]


def _submitter(options: KubeRayOptions) -> list[str]:
    return [
        "  # The pod that hands the job over and waits for it.",
        "  submitterPodTemplate:",
        "    spec:",
        "      restartPolicy: Never",
        *_indent(_pod_security(), 6),
        "      containers:",
        "        - name: submitter",
        f"          image: {_text(options.image)}",
        *_indent(_container_security(), 10),
        *_indent(_resources("500m", "1Gi"), 10),
    ]


def _head(request: JobRequest, options: KubeRayOptions) -> list[str]:
    return [
        "    headGroupSpec:",
        "      rayStartParams:",
        "        # No batch runs beside the driver and the tables of the cluster.",
        '        num-cpus: "0"',
        '        dashboard-host: "0.0.0.0"',
        "      template:",
        "        spec:",
        *_indent(_pod(request, options, name="ray-head", cpu=str(_HEAD_CPUS), memory=_HEAD_MEMORY), 10),
    ]


def _workers(request: JobRequest, options: KubeRayOptions) -> list[str]:
    return [
        "    workerGroupSpecs:",
        "      - groupName: workers",
        f"        replicas: {options.size.workers}",
        f"        minReplicas: {options.size.workers}",
        f"        maxReplicas: {options.size.workers}",
        "        rayStartParams:",
        f'          num-cpus: "{options.size.cpus}"',
        "        template:",
        "          spec:",
        *_indent(
            _pod(
                request, options, name="ray-worker", cpu=str(options.size.cpus), memory=f"{options.size.memory_mib}Mi"
            ),
            12,
        ),
    ]


def _pod(request: JobRequest, options: KubeRayOptions, *, name: str, cpu: str, memory: str) -> list[str]:
    mounts, volumes = _volumes(request, options)
    ports = [
        "ports:",
        "  - {name: gcs-server, containerPort: 6379}",
        "  - {name: dashboard, containerPort: 8265}",
        "  - {name: client, containerPort: 10001}",
    ]
    return [
        f"# Long enough for a node that is drained to let the driver commit: {DRAIN_SECONDS} s and a little more.",
        f"terminationGracePeriodSeconds: {DRAIN_SECONDS + 30}",
        *_pod_security(),
        "containers:",
        f"  - name: {name}",
        f"    image: {_text(options.image)}",
        *_indent(ports if name == "ray-head" else [], 4),
        *_indent(_environment(), 4),
        *_indent(_credentials(options.secret), 4),
        *_indent(_container_security(), 4),
        *_indent(_resources(cpu, memory), 4),
        "    volumeMounts:",
        *_indent(mounts, 6),
        "volumes:",
        *_indent(volumes, 2),
    ]


def _volumes(request: JobRequest, options: KubeRayOptions) -> tuple[list[str], list[str]]:
    mounts = [
        f"- {{name: spec, mountPath: {SPEC_FOLDER}, readOnly: true}}",
        f"- {{name: shm, mountPath: {SHARED_MEMORY}}}",
    ]
    volumes = [
        f"- {{name: spec, configMap: {{name: {request.name}-spec}}}}",
        "# Ray's object store; a container has 64 MiB of it by itself. Counts as memory of the pod.",
        "- {name: shm, emptyDir: {medium: Memory, sizeLimit: 2Gi}}",
    ]
    if options.claim is not None:
        mounts.append(f"- {{name: runs, mountPath: {_text(run_folder(request.run))}}}")
        volumes.append(f"- {{name: runs, persistentVolumeClaim: {{claimName: {_text(options.claim)}}}}}")
    return mounts, volumes


def _environment() -> list[str]:
    return ["env:", '  - {name: RAY_USAGE_STATS_ENABLED, value: "0"}']


def _credentials(secret: str | None) -> list[str]:
    return [] if secret is None else ["envFrom:", "  - secretRef:", f"      name: {_text(secret)}"]


def _pod_security() -> list[str]:
    return [
        "securityContext:",
        "  runAsNonRoot: true",
        f"  runAsUser: {_USER}",
        f"  fsGroup: {_USER}",
        "  seccompProfile: {type: RuntimeDefault}",
    ]


def _container_security() -> list[str]:
    return ["securityContext:", "  allowPrivilegeEscalation: false", "  capabilities: {drop: [ALL]}"]


def _resources(cpu: str, memory: str) -> list[str]:
    sizes = f"{{cpu: {_text(cpu)}, memory: {_text(memory)}}}"
    return ["resources:", f"  requests: {sizes}", f"  limits: {sizes}"]


def _indent(lines: list[str], blanks: int) -> list[str]:
    return [f"{' ' * blanks}{line}" for line in lines]


def _text(value: Any) -> str:
    """Return a value as a quoted YAML scalar: a JSON string is one, but YAML knows no surrogate pairs."""
    return json.dumps(str(value), ensure_ascii=False)
