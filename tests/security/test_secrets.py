"""No secret of the environment or of an argument is written into a run or printed."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from engine.operations import OPERATION
from sweep.commands import submit
from sweep.commands.options import command_line
from tests.support.cluster.files import ROOT, SMOKE

KEY, TOKEN, PASSWORD = "AKIAsecretsecret0001", "t0ken" * 8, "hunter2hunter2"
ENVIRONMENT = {
    "AWS_SECRET_ACCESS_KEY": KEY,
    "RAY_AUTH_TOKEN": TOKEN,
    "HTTPS_PROXY": f"http://me:{PASSWORD}@proxy.example:3128",
    "RAY_API_SERVER_ADDRESS": f"http://me:{PASSWORD}@head.example:8265",
}
SPEC = """
name: leaky
workloads: [{{name: recorded, path: {path}}}]
policies: [kvm-3.0, kvm-3.3]
guests: {{vcpus: 1, memory_mib: 256}}
baseline: kvm-3.0
"""


def leaks(text: bytes) -> list[str]:
    """Return the secrets in a text."""
    return [secret for secret in (KEY, TOKEN, PASSWORD) if secret.encode() in text]


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Run the program with secrets around it."""
    return subprocess.run(
        [sys.executable, "-m", "sweep.cli", *words],
        cwd=folder,
        env={**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
        timeout=250,
    )


@pytest.mark.slow
def test_a_failing_sweep_keeps_secrets(tmp_path: Path) -> None:
    """A sweep whose batches fail with a secret in the message writes and prints none of it."""
    recording = tmp_path / f"{KEY}.npy"
    # Of a vCPU that the guest has not: the error names the path.
    operations = np.zeros(1, OPERATION)
    operations["vcpu"] = 1
    np.save(recording, operations)
    (tmp_path / "leaky.yaml").write_text(SPEC.format(path=recording), encoding="utf-8")

    done = run(tmp_path, "run", "leaky.yaml", "--out", "run")
    told = run(tmp_path, "status", "run")
    (failures,) = (tmp_path / "run" / "failures").glob("*.parquet")

    # The path is in the specification, where it was asked for; rows must not repeat it.
    assert b"failed" in done.stdout + done.stderr
    assert leaks(done.stdout + done.stderr + told.stdout + told.stderr) == []
    assert leaks(str(pq.read_table(failures).to_pylist()).encode()) == []
    assert leaks((tmp_path / "run" / "provenance.json").read_bytes()) == []


def test_a_job_carries_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be submitted, and the address at which, hold no secret and no user of the address."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)

    shown = CliRunner().invoke(submit.app, [SMOKE, "--dry-run", "--json", "--upload-code"])
    manifests = [
        CliRunner().invoke(submit.app, [SMOKE, *words, "-", "--out", "s3://bucket/run"])
        for words in (("--secret", "keys", "--kuberay"), ("--slurm",))
    ]

    assert [done.exit_code for done in (shown, *manifests)] == [0, 0, 0]
    assert leaks("".join(done.output for done in (shown, *manifests)).encode()) == []
    assert '"address": "http://head.example:8265"' in shown.stdout


def test_the_command_to_go_on_names_no_password() -> None:
    """The command that a run keeps leaves the user of an address out."""
    assert command_line("sweep", "run", "--address", f"ray://me:{PASSWORD}@head:10001") == (
        "sweep run --address ray://head:10001"
    )


def test_a_url_with_a_password_is_refused_without_repeating_it(tmp_path: Path) -> None:
    """A run's URL with a user in it is an error of use; the message does not hold the password."""
    done = run(tmp_path, "run", SMOKE, "--out", f"s3://me:{PASSWORD}@bucket/run")

    assert (done.returncode, leaks(done.stdout + done.stderr)) == (2, [])
