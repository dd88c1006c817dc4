"""Batch jobs on a real Ray head: submitted once, watched, read, stopped, and honest about failed cells."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from engine.operations import OPERATION
from sweep.exit_codes import ExitCode, SweepError
from sweep.status import RunReader
from tests.support.cluster.head import Head, sweep

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # On a fresh machine the first job compiles the kernels.

COMPILE_SECONDS = 800

SWEEP = """
name: {name}
workloads: [{workload}]
policies: [kvm-3.0, kvm-3.3]
guests: {{vcpus: 1, memory_mib: 512}}
replicates: {replicates}
baseline: kvm-3.0
"""


def write(folder: Path, name: str, workload: str, replicates: int = 2) -> str:
    """Write a sweep and return its path."""
    path = folder / f"{name}.yaml"
    path.write_text(SWEEP.format(name=name, workload=workload, replicates=replicates), encoding="utf-8")
    return str(path)


def submitted(head: Head, *words: str) -> dict[str, object]:
    """Submit a sweep and return what the program says of it."""
    done = sweep(head, "submit", *words, "--address", head.dashboard, "--json")
    assert done.returncode == ExitCode.OK, done.stderr
    content: dict[str, object] = json.loads(done.stdout)
    return content


def test_a_job_runs_once_and_can_be_watched(head: Head, tmp_path: Path) -> None:
    """A submitted sweep runs to its end on the cluster; the second submission finds the first; its log and run tell."""
    spec, run = write(tmp_path, "good", "{name: pingpong, rounds: [20, 40]}"), str(tmp_path / "run")

    first = submitted(head, spec, "--out", run)
    second = submitted(head, spec, "--out", run)
    job = str(first["submission_id"])
    followed = sweep(head, "logs", job, "--address", head.dashboard, "--follow", timeout=COMPILE_SECONDS)
    late = sweep(head, "cancel", job, "--address", head.dashboard)

    assert followed.returncode == ExitCode.OK, followed.stdout + followed.stderr
    assert (first["new"], second) == (True, {**first, "new": False})
    assert "8 cells in 4 batches to do, 0 are there" in followed.stdout
    whole = sweep(head, "logs", job, "--address", head.dashboard)
    assert whole.stdout.splitlines()[-1].startswith("more: sweep summarize")
    told = json.loads(sweep(head, "status", job, "--address", head.dashboard, "--json").stdout)
    assert (told["status"], told["exit_code"], told["run"]) == ("SUCCEEDED", 0, run)
    assert (RunReader(run).look().is_complete, done_cells(run)) == (True, 8)
    assert "had ended already (SUCCEEDED)" in late.stdout


def test_failed_cells_fail_a_job_that_brought_its_code(head: Head, tmp_path: Path) -> None:
    """A job whose cells fail ends with the driver's exit code, for the cluster and for whoever waits.

    With --upload-code the nodes run the code of the one who submits: the traces lead into Ray's copy of it.
    """
    recording = tmp_path / "broken.npy"
    operations = np.zeros(1, OPERATION)
    operations["vcpu"] = 1  # The guest has one vCPU, number 0.
    np.save(recording, operations)
    run = str(tmp_path / "run")
    spec = write(tmp_path, "bad", f"{{name: recorded, path: {recording}}}")
    words = ("submit", spec, "--out", run, "--address", head.dashboard, "--wait", "--upload-code")

    done = sweep(head, *words, timeout=COMPILE_SECONDS)

    assert done.returncode == ExitCode.CELLS_FAILED, done.stdout + done.stderr
    jobs = json.loads(sweep(head, "status", "--address", head.dashboard, "--json").stdout)["jobs"]
    (failed,) = [job for job in jobs if job["run"] == run]
    assert (failed["status"], failed["exit_code"]) == ("FAILED", ExitCode.CELLS_FAILED)
    assert sum(RunReader(run).look().failures.values()) == 4
    traces = [
        row for file in Path(run).glob("failures/*.parquet") for row in pq.read_table(file)["traceback"].to_pylist()
    ]
    assert [trace for trace in traces if "_ray_pkg_" not in trace] == []


def test_a_cancelled_job_keeps_what_it_finished(head: Head, tmp_path: Path) -> None:
    """A stopped job drains: its cells are counted, it holds no lock, and the same submission goes on."""
    run = str(tmp_path / "run")
    spec = write(tmp_path, "long", "{name: pingpong, rounds: 1000}", replicates=10_000)
    job = str(submitted(head, spec, "--out", run)["submission_id"])
    wait_until(lambda: done_cells(run) > 0)

    asked = sweep(head, "cancel", job, "--address", head.dashboard)
    followed = sweep(head, "logs", job, "--address", head.dashboard, "--follow", timeout=COMPILE_SECONDS)
    kept = done_cells(run)
    next_one = submitted(head, spec, "--out", run)
    wait_until(lambda: done_cells(run) > kept)
    sweep(head, "cancel", f"{job}-2", "--address", head.dashboard)
    ended = sweep(head, "logs", f"{job}-2", "--address", head.dashboard, "--follow", timeout=COMPILE_SECONDS)

    assert "asked to stop" in asked.stdout
    assert (followed.returncode, ended.returncode) == (ExitCode.INTERRUPTED, ExitCode.INTERRUPTED)
    assert f"To go on: sweep submit {spec} --out {run} --address {head.dashboard}" in followed.stdout
    assert (next_one["submission_id"], next_one["new"]) == (f"{job}-2", True)
    assert 0 < kept < done_cells(run) < 20_000


def test_the_doctor_looks_at_each_node(head: Head, tmp_path: Path) -> None:
    """A healthy node passes every check; a cluster that is too small, and one that is not there, are told."""
    run = tmp_path / "run"

    well = sweep(head, "doctor", "--address", head.address, "--nodes", "1", "--out", str(run), "--json")
    absent = sweep(head, "doctor", "--address", "127.0.0.1:1")

    assert well.returncode == ExitCode.OK, well.stdout + well.stderr
    checks = json.loads(well.stdout)["checks"]
    assert {check["state"] for check in checks} == {"ok"}
    assert {"nodes", "versions", "our code", "clock", "shared run path", "atomic rename", "put-if-absent"} <= {
        check["name"] for check in checks
    }
    assert not run.exists()
    assert absent.returncode == ExitCode.USAGE
    assert "nobody answers at 127.0.0.1:1" in absent.stderr


def test_errors_say_what_to_do(head: Head, tmp_path: Path) -> None:
    """A job that is not there, an address where nobody is and a wrong token are one line and a hint, no traceback."""
    wrong = tmp_path / "token"
    wrong.write_text("0" * 64, encoding="ascii")
    stranger = Head(
        address=head.address,
        dashboard=head.dashboard,
        environment={**head.environment, "RAY_AUTH_TOKEN_PATH": str(wrong)},
    )

    unknown = sweep(head, "logs", "nothing", "--address", head.dashboard)
    nobody = sweep(head, "logs", "nothing", "--address", "http://127.0.0.1:1")
    refused = sweep(stranger, "logs", "nothing", "--address", head.dashboard)
    run = sweep(stranger, "run", "configs/smoke.yaml", "--out", str(tmp_path / "run"), "--address", head.address)

    assert [done.returncode for done in (unknown, nobody, refused, run)] == [ExitCode.USAGE] * 4
    assert "no job 'nothing'" in unknown.stderr
    assert "give the address of the dashboard" in nobody.stderr
    assert "RAY_AUTH_TOKEN_PATH" in refused.stderr
    # Ray says it once, and we do; it would go on for 20 s.
    assert run.stderr.count("InvalidAuthToken") == 2, run.stderr
    assert [done.stderr for done in (unknown, nobody, refused, run) if "Traceback" in done.stderr] == []


def test_only_loopback_is_listened_on(head: Head) -> None:
    """The head of these tests is reachable from this machine alone."""
    folder = str(Path(head.environment["RAY_AUTH_TOKEN_PATH"]).parent)
    own = [p for p in psutil.process_iter(["cmdline"]) if folder in " ".join(p.info["cmdline"] or ())]

    listening = {
        one.laddr.ip
        for process in own
        if process.pid != os.getpid()
        for one in process.net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    }

    assert listening
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def done_cells(run: str) -> int:
    """Return how many cells a run has; none before it is there."""
    try:
        return RunReader(run).look().cells_done
    except SweepError:
        return 0


def wait_until(condition: Callable[[], bool], seconds: float = COMPILE_SECONDS) -> None:
    """Return once the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.5)
