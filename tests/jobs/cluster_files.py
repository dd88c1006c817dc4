"""Makes what `sweep submit` writes, without a cluster, for the tests of this folder."""

import json
from functools import cache
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from typer.testing import CliRunner

from sweep.commands.submit import app
from sweep.exit_codes import SweepError

ROOT: Final = Path(__file__).resolve().parent.parent.parent
SCHEMA: Final = ROOT / "tests/data/kuberay/rayjob.schema.json"
SMOKE: Final = str(ROOT / "configs/smoke.yaml")


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


@cache
def schema() -> Any:
    """Return what KubeRay and Kubernetes allow in a manifest."""
    return json.loads(SCHEMA.read_text(encoding="utf-8"))
