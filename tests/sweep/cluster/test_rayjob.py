"""The RayJob manifest says what a sweep needs; test_rayjob_crd.py has what KubeRay takes."""

import shlex
import subprocess
from pathlib import Path

import pytest

from sweep.exit_codes import SweepError
from tests.support.cluster.files import IN_A_BUCKET, IN_A_CLAIM, SMOKE, documents, job_of, submit


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


def test_the_command_survives_the_shell_of_the_submitter() -> None:
    """KubeRay puts the entrypoint into a script of bash: what bash makes of it is the command, word by word."""
    words = ("--out", '/runs/😀 it\'s; a "run" *\\ # & (more)', "--claim", "runs", "-s", "guests.vcpus=[1, 2]")
    entrypoint = job_of(*words)["spec"]["entrypoint"]
    script = f"printf '%s\\0' {entrypoint}"

    seen = subprocess.run(["/bin/bash", "-ce", "--", script], check=True, capture_output=True, text=True).stdout

    assert seen.split("\0")[:-1] == shlex.split(entrypoint)
    assert {words[1], words[5]} <= set(shlex.split(entrypoint))


def test_names_stay_text() -> None:
    """A claim or a Secret whose name reads like a number or a truth value is written as text."""
    spec = job_of("--out", "/runs/smoke", "--claim", "1e3", "--secret", "true")["spec"]["rayClusterSpec"]
    pod = spec["headGroupSpec"]["template"]["spec"]

    assert pod["volumes"][-1]["persistentVolumeClaim"] == {"claimName": "1e3"}
    assert pod["containers"][0]["envFrom"] == [{"secretRef": {"name": "true"}}]


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
        ((*IN_A_CLAIM[:2], "--claim", "My_Claim"), "a name in Kubernetes"),
        ((*IN_A_BUCKET, "--claim", "runs"), "leave --claim out"),
        (("--out", "/smoke", "--claim", "runs"), "mounted at /, and pods have /etc/sweep"),
        (("--out", "/etc/sweep/runs/smoke", "--claim", "runs"), "pods have /etc/sweep"),
        (("--out", "/dev/shm/smoke", "--claim", "runs"), "pods have /dev/shm"),
        (("--out", "/runs:1/smoke", "--claim", "runs"), "path with ':'"),
        (("--out", "/runs/$USER/smoke", "--claim", "runs"), "without these signs"),
        ((*IN_A_CLAIM, "--workers", str(1 << 31)), "--workers 2147483648: KubeRay counts to 2147483647"),
        ((*IN_A_CLAIM, "--ttl", str(1 << 31)), "--ttl 2147483648: KubeRay counts"),
        ((*IN_A_CLAIM, "--time", "24856-00:00:00"), "--time with 900 s for the start: 2147559300"),
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


@pytest.mark.parametrize(
    ("name", "added", "message"),
    [
        ("my sweep.yaml", "", "no name for a file in a ConfigMap"),
        ("long.yaml", f"# {'é' * 600_000}\n", "more than 1 MiB"),
    ],
    ids=["name", "size"],
)
def test_a_specification_that_fits_no_config_map_is_refused(
    name: str, added: str, message: str, tmp_path: Path
) -> None:
    """A file whose name or size Kubernetes would not take in a ConfigMap is an error that says what to do."""
    spec = tmp_path / name
    spec.write_text(Path(SMOKE).read_text(encoding="utf-8") + added, encoding="utf-8")

    with pytest.raises(SweepError, match=message):
        submit(str(spec), "--kuberay", "-", *IN_A_CLAIM)
