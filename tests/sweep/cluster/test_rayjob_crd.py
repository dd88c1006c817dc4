"""The RayJob manifest and KubeRay: each field is one of its CRD, of the form there, and its operator takes all."""

from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator
from packaging.version import Version
from ruamel.yaml import YAML

from tests.support.cluster.files import (
    IN_A_BUCKET,
    IN_A_CLAIM,
    SMOKE,
    changed,
    documents,
    job_of,
    problems,
    schema,
    submit,
)

MANIFESTS: Final = MappingProxyType(
    {
        "pvc": IN_A_CLAIM,
        "s3": IN_A_BUCKET,
        "both": (*IN_A_CLAIM, "--secret", "store-keys"),
        "long name": (*IN_A_CLAIM, "--name", "Sweep_" * 30),
        "least": (*IN_A_CLAIM, "--workers", "1", "--cpus", "1", "--ttl", "0", "--time", "00:02:01"),
        "most": (*IN_A_CLAIM, "--workers", "2147483647", "--ttl", "2147483647", "--time", "24855-02:59:07"),
    }
)
CLUSTER: Final = ("spec", "rayClusterSpec")
HEAD: Final = (*CLUSTER, "headGroupSpec")
WORKERS: Final = (*CLUSTER, "workerGroupSpecs", 0)
CONTAINER: Final = (*HEAD, "template", "spec", "containers", 0)
DELETION: Final = ("spec", "deletionStrategy")
FAILED: Final[MappingProxyType[str, Any]] = MappingProxyType(
    {"condition": {"jobStatus": "FAILED"}, "policy": "DeleteSelf"}
)


@pytest.mark.parametrize("words", MANIFESTS.values(), ids=MANIFESTS)
def test_every_field_is_known_to_kuberay(words: tuple[str, ...]) -> None:
    """The manifest is a ConfigMap and a RayJob of known fields, each of its type, none missing, for any options."""
    config_map, job = documents(submit(SMOKE, "--kuberay", "-", *words))

    assert problems(config_map, "ConfigMap") == []
    assert problems(job, "RayJob") == []


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        pytest.param(("spec", "ttlSecondsAfterFinish"), 60, "$.spec: Additional properties", id="misspelt"),
        pytest.param(
            (*CLUSTER, "tlsOptions"), {}, "$.spec.rayClusterSpec: Additional properties", id="of a later version"
        ),
        pytest.param(
            (*CONTAINER, "volumeMounts", 0, "path"), "/", ".volumeMounts[0]: Additional", id="of somewhere else"
        ),
        pytest.param((*WORKERS, "groupName"), None, "'groupName' is a required property", id="missing"),
        pytest.param((*HEAD, "template"), None, "'template' is a required property", id="missing in the head"),
        pytest.param(("spec", "backoffLimit"), "0", "$.spec.backoffLimit: '0' is not of type", id="a number as text"),
        pytest.param((*HEAD, "rayStartParams", "num-cpus"), 0, "0 is not of type 'string'", id="a text as number"),
        pytest.param((*CLUSTER, "authOptions", "mode"), "password", "'password' is not one of", id="not in the list"),
        pytest.param(("spec", "preRunningDeadlineSeconds"), 0, "less than the minimum of 1", id="too small"),
        pytest.param(("spec", "activeDeadlineSeconds"), 1 << 31, "greater than the maximum", id="beyond its format"),
        pytest.param((*CONTAINER, "resources", "limits", "cpu"), "2 cores", "does not match", id="no quantity"),
        pytest.param((*CONTAINER, "volumeMounts", 1, "mountPath"), "/etc/sweep", "is there twice", id="a key twice"),
        pytest.param(("metadata", "name"), "1st", "'1st' does not match", id="no name of a RayJob"),
        pytest.param(("metadata", "name"), "a" * 48, "is too long", id="too long for a RayJob"),
    ],
)
def test_the_check_finds_what_kuberay_would_refuse(path: tuple[str | int, ...], value: object, problem: str) -> None:
    """One wrong place in a manifest is one problem, of the kind that it is."""
    (found,) = problems(changed(job_of(*IN_A_CLAIM), path, value), "RayJob")

    assert problem in found


@pytest.mark.parametrize(
    ("path", "value", "is_taken"),
    [
        (("spec", "managedBy"), "ray.io/kuberay-operator", True),
        (("spec", "managedBy"), "shadowsweep", False),
        ((*CLUSTER, "managedBy"), "shadowsweep", False),
        (DELETION, {"deletionRules": [dict(FAILED)]}, True),
        (DELETION, {"onFailure": {"policy": "DeleteSelf"}, "onSuccess": {"policy": "DeleteNone"}}, True),
        (DELETION, {"onFailure": {"policy": "DeleteSelf"}}, False),
        (DELETION, {}, False),
        (DELETION, {"deletionRules": [dict(FAILED)], "onSuccess": {"policy": "DeleteNone"}}, False),
        (DELETION, {"deletionRules": []}, False),
        (DELETION, {"deletionRules": [{"condition": {}, "policy": "DeleteSelf"}]}, False),
        (
            DELETION,
            {"deletionRules": [{**FAILED, "condition": {"jobStatus": "FAILED", "jobDeploymentStatus": "Failed"}}]},
            False,
        ),
    ],
)
def test_the_rules_of_the_crd_hold_here_too(path: tuple[str | int, ...], value: object, *, is_taken: bool) -> None:
    """What the CRD says in CEL – who may manage a job, and one way of deletion at a time – the check says as well."""
    assert (problems(changed(job_of(*IN_A_CLAIM), path, value), "RayJob") == []) is is_taken


def test_the_schema_is_closed() -> None:
    """The schema is a valid one, and no object in it that lists its properties lets others through."""
    Draft202012Validator.check_schema(schema())
    name_of_a_rayjob = schema()["$defs"]["RayJob"]["properties"]["metadata"]["allOf"][1]

    opened = [
        part for part in parts(schema()) if "properties" in part and part.get("additionalProperties") is not False
    ]

    assert opened == [name_of_a_rayjob]


def parts(content: Any) -> Iterator[dict[str, Any]]:
    """Yield each object within a schema."""
    if isinstance(content, dict):
        yield content
    for value in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        yield from parts(value)


def head_variables(cluster: Any) -> set[str]:
    """Return the names of the environment variables of the head."""
    return {entry["name"] for entry in cluster["headGroupSpec"]["template"]["spec"]["containers"][0]["env"]}


def groups(cluster: Any) -> list[Any]:
    """Return the head and the groups of workers."""
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


OPERATOR_RULES: Final[MappingProxyType[str, Callable[[Any, Any], bool]]] = MappingProxyType(
    {
        "time is positive": lambda job, _: job["activeDeadlineSeconds"] > 0,
        "retries are not negative": lambda job, _: job["backoffLimit"] >= 0,
        "a cluster lives on after the job only if it is deleted then": lambda job, _: (
            job["ttlSecondsAfterFinished"] == 0 or job["shutdownAfterJobFinishes"]
        ),
        "deletion rules need a feature gate": lambda job, _: "deletionStrategy" not in job,
        "a template for the pod that submits is read": lambda job, _: job["submissionMode"] == "K8sJobMode",
        "a runtime environment in YAML": lambda job, _: isinstance(YAML(typ="safe").load(job["runtimeEnvYAML"]), dict),
        "a cluster of its own": lambda job, _: "clusterSelector" not in job,
        "replicas within their bounds": lambda _, cluster: all(
            0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
            for group in cluster["workerGroupSpecs"]
        ),
        "resources are said once": lambda _, cluster: all("resources" not in group for group in groups(cluster)),
        "labels are no start parameter": lambda _, cluster: all(
            "labels" not in group["rayStartParams"] for group in groups(cluster)
        ),
        "tokens need Ray 2.52": lambda _, cluster: Version(cluster["rayVersion"]) >= Version("2.52"),
        "tokens are not Kubernetes' own": lambda _, cluster: not cluster["authOptions"].get("enableK8sTokenAuth"),
        "no upgrade of a job's cluster": lambda _, cluster: "upgradeStrategy" not in cluster,
        "no Redis by variables": lambda _, cluster: (
            not head_variables(cluster) & {"RAY_REDIS_ADDRESS", "REDIS_USERNAME"}
        ),
    }
)
"""ValidateRayJobSpec, ValidateRayClusterSpec and ValidateRayClusterUpgradeOptions of KubeRay's operator, as far as a
manifest of ours could break them (ray-operator/controllers/ray/utils/validation.go, between 1.6 and 1.7)."""


def broken(job: Any) -> list[str]:
    """Return the rules of the operator that a RayJob breaks."""
    spec = job["spec"]
    return [rule for rule, holds in OPERATOR_RULES.items() if not holds(spec, spec["rayClusterSpec"])]


@pytest.mark.parametrize("words", MANIFESTS.values(), ids=MANIFESTS)
def test_the_operator_refuses_nothing(words: tuple[str, ...]) -> None:
    """What the operator checks beyond the CRD holds, for any options."""
    assert broken(job_of(*words)) == []


BREAKS: Final[MappingProxyType[str, tuple[tuple[str | int, ...], object]]] = MappingProxyType(
    {
        "time is positive": (("spec", "activeDeadlineSeconds"), 0),
        "retries are not negative": (("spec", "backoffLimit"), -1),
        "a cluster lives on after the job only if it is deleted then": (("spec", "shutdownAfterJobFinishes"), False),
        "deletion rules need a feature gate": (DELETION, {"deletionRules": [dict(FAILED)]}),
        "a template for the pod that submits is read": (("spec", "submissionMode"), "HTTPMode"),
        "a runtime environment in YAML": (("spec", "runtimeEnvYAML"), "env_vars"),
        "a cluster of its own": (("spec", "clusterSelector"), {"ray.io/cluster": "shared"}),
        "replicas within their bounds": ((*WORKERS, "minReplicas"), 5),
        "resources are said once": ((*WORKERS, "resources"), {"CPU": "8"}),
        "labels are no start parameter": ((*HEAD, "rayStartParams", "labels"), "zone=a"),
        "tokens need Ray 2.52": ((*CLUSTER, "rayVersion"), "2.51.2"),
        "tokens are not Kubernetes' own": ((*CLUSTER, "authOptions", "enableK8sTokenAuth"), True),
        "no upgrade of a job's cluster": ((*CLUSTER, "upgradeStrategy"), {"type": "Recreate"}),
        "no Redis by variables": ((*CONTAINER, "env", 0, "name"), "RAY_REDIS_ADDRESS"),
    }
)
"""Rule -> a place of the manifest and what to write there to break it."""


@pytest.mark.parametrize("rule", OPERATOR_RULES)
def test_each_rule_of_the_operator_can_be_broken(rule: str) -> None:
    """A manifest that the CRD takes and the operator does not breaks that one rule."""
    path, value = BREAKS[rule]
    job = changed(job_of(*IN_A_CLAIM), path, value)

    assert (problems(job, "RayJob"), broken(job)) == ([], [rule])
