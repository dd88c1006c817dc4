"""The RayJob manifest: every field is one that KubeRay and Kubernetes know, and it says what a sweep needs."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from sweep.exit_codes import SweepError
from tests.jobs.cluster_files import SMOKE, documents, schema, submit

IN_A_CLAIM = ("--out", "/runs/smoke", "--claim", "runs")
IN_A_BUCKET = ("--out", "s3://bucket/smoke", "--secret", "store-keys")


def problems(document: Any, kind: str) -> list[str]:
    """Return what is wrong with a document: unknown fields, missing ones, other types."""
    checker = jsonschema.Draft202012Validator({**schema(), "$ref": f"#/$defs/{kind}"})
    return [f"{error.json_path}: {error.message}" for error in checker.iter_errors(document)]


def job_of(*words: str) -> Any:
    """Return the RayJob of a manifest."""
    return documents(submit(SMOKE, "--kuberay", "-", *words))[1]


@pytest.mark.parametrize("words", [IN_A_CLAIM, IN_A_BUCKET, (*IN_A_CLAIM, *IN_A_BUCKET[2:])], ids=["pvc", "s3", "both"])
def test_every_field_is_known_to_kuberay(words: tuple[str, ...]) -> None:
    """The manifest is a ConfigMap and a RayJob of known fields, each of its type, none missing."""
    config_map, job = documents(submit(SMOKE, "--kuberay", "-", *words))

    assert problems(config_map, "ConfigMap") == []
    assert problems(job, "RayJob") == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "ttlSecondsAfterFinish"), 60),
        (("spec", "backoffLimit"), "0"),
        (("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
        (
            ("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "containers", 0, "volumeMounts", 0, "path"),
            "/",
        ),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "groupName"), None),
    ],
)
def test_the_check_finds_what_kuberay_would_refuse(path: tuple[str | int, ...], value: object) -> None:
    """A misspelt field, a number as text, a text as number, a field of somewhere else and a missing one are found."""
    job = deepcopy(job_of(*IN_A_CLAIM))
    place = job
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value

    assert problems(job, "RayJob")


def test_the_job_cleans_up_and_stops_in_time() -> None:
    """The cluster goes after the job, nothing is tried blindly again, and the driver stops 2 minutes before the end."""
    spec = job_of(*IN_A_CLAIM, "--time", "01:00:00", "--ttl", "30")["spec"]

    assert (spec["shutdownAfterJobFinishes"], spec["ttlSecondsAfterFinished"], spec["backoffLimit"]) == (True, 30, 0)
    assert spec["entrypoint"].startswith("exec timeout --signal=TERM --kill-after=120 3480 python -m sweep.cli run ")
    assert spec["activeDeadlineSeconds"] > 3600
    grace = int(spec["entrypoint"].rpartition("--grace ")[2])
    pod = spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    assert grace < 120 < pod["terminationGracePeriodSeconds"]


def test_batches_run_on_workers_only_and_strangers_nowhere() -> None:
    """The head offers no CPUs, each worker what its pod has, and the cluster asks everybody for its token."""
    spec = job_of(*IN_A_CLAIM, "--workers", "3", "--cpus", "5", "--memory", "7G")["spec"]["rayClusterSpec"]
    (group,) = spec["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]

    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert (group["replicas"], group["rayStartParams"]["num-cpus"]) == (3, "5")
    assert container["resources"]["limits"] == {"cpu": "5", "memory": "7168Mi"} == container["resources"]["requests"]
    assert spec["authOptions"] == {"mode": "token"}


def test_every_pod_runs_without_rights() -> None:
    """No pod runs as root, none gains rights or keeps capabilities."""
    spec = job_of(*IN_A_CLAIM)["spec"]
    templates = [
        spec["submitterPodTemplate"],
        spec["rayClusterSpec"]["headGroupSpec"]["template"],
        *(group["template"] for group in spec["rayClusterSpec"]["workerGroupSpecs"]),
    ]

    for template in templates:
        pod = template["spec"]
        assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (True, 1000)
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }


def test_the_specification_travels_unchanged(tmp_path: Path) -> None:
    """Whatever a specification looks like, the file that the pods mount reads as the one that was submitted."""
    text = Path(SMOKE).read_text(encoding="utf-8")
    odd = tmp_path / "odd.yaml"
    odd.write_text(f"   # a first line with blanks, a 'quote', a {{brace}} and: a colon\n\n{text}", encoding="utf-8")

    config_map, job = documents(submit(str(odd), "--kuberay", "-", *IN_A_CLAIM))

    assert config_map["data"] == {"odd.yaml": odd.read_text(encoding="utf-8")}
    assert "/etc/sweep/odd.yaml" in job["spec"]["entrypoint"]


def test_credentials_come_from_a_secret_by_name() -> None:
    """Head and workers read the object store's credentials from a Secret; the manifest holds its name alone."""
    spec = job_of(*IN_A_BUCKET)["spec"]["rayClusterSpec"]
    pods = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]

    for pod in pods:
        (container,) = pod["template"]["spec"]["containers"]
        assert container["envFrom"] == [{"secretRef": {"name": "store-keys"}}]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "where do results go"),
        (("--out", "/runs/smoke"), "pods share no file system"),
        ((*IN_A_CLAIM, "--image", "image\ncommand: [sh]"), "not allowed"),
        ((*IN_A_CLAIM, "--secret", "a: b"), "not allowed"),
        ((*IN_A_CLAIM, "--time", "00:02:00"), "too short"),
        ((*IN_A_CLAIM, "--memory", "16"), "no size of memory"),
        (("--out", "/runs/a\nb", "--claim", "runs"), "line break"),
        (
            (
                "--out",
                "s3://me:hunter2@bucket/run",
            ),
            "has no user, password or query",
        ),
    ],
)
def test_what_would_not_work_is_refused(words: tuple[str, ...], message: str) -> None:
    """An option that can't work, or that would write lines of its own into the manifest, is an error that says so."""
    with pytest.raises(SweepError, match=message) as refused:
        submit(SMOKE, "--kuberay", "-", *words)

    assert "hunter2" not in str(refused.value)
