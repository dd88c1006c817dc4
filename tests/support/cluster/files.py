"""Makes what `sweep submit` writes, without a cluster, for tests."""

import json
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from typing import Any, Final

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend
from ruamel.yaml import YAML
from typer.testing import CliRunner

from sweep.commands.submit import app
from sweep.exit_codes import SweepError
from tests.support.project import DATA, ROOT

SCHEMA: Final = DATA / "kuberay/rayjob.schema.json"
SMOKE: Final = str(ROOT / "configs/smoke.yaml")
IN_A_CLAIM: Final = ("--out", "/runs/smoke", "--claim", "runs")
IN_A_BUCKET: Final = ("--out", "s3://bucket/smoke", "--secret", "store-keys")


def submit(*words: str) -> str:
    """Return what `sweep submit` prints.

    Raises:
        SweepError: it refuses.
    """
    done = CliRunner().invoke(app, list(words))
    if isinstance(done.exception, SweepError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def documents(manifest: str) -> list[Any]:
    """Return the YAML documents of a manifest."""
    return list(YAML(typ="safe", pure=True).load_all(manifest))


def job_of(*words: str) -> Any:
    """Return the RayJob of a manifest."""
    return documents(submit(SMOKE, "--kuberay", "-", *words))[1]


def changed(document: Any, path: tuple[str | int, ...], value: object) -> Any:
    """Return a copy in which one place has another value; None takes the place away."""
    copy = deepcopy(document)
    place = copy
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return copy


def _once_each(_checker: Any, keys: list[str], items: list[Any], _schema: Any) -> Iterator[ValidationError]:
    """Check a list that Kubernetes keeps as a map: no two entries agree in all keys."""
    names = [tuple(item.get(key) for key in keys) for item in items]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield ValidationError(f"{name} is there twice")


_CHECKER: Final = extend(Draft202012Validator, {"x-kubernetes-list-map-keys": _once_each})


def problems(document: Any, kind: str) -> list[str]:
    """Return what is wrong with a document: its place and what KubeRay's CRD or Kubernetes would not take."""
    checker = _CHECKER({**schema(), "$ref": f"#/$defs/{kind}"})
    return [f"{error.json_path}: {error.message}" for error in checker.iter_errors(document)]


@cache
def schema() -> Any:
    """Return what KubeRay and Kubernetes allow in a manifest."""
    return json.loads(SCHEMA.read_text(encoding="utf-8"))
