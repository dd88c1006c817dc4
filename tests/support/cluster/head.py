"""A Ray head for tests: on loopback, with its own ports, token and folder, and no trace after."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.project import ROOT

START_SECONDS = 180
"""Ray starts in ten seconds on an idle machine; others may be at work on this one."""
WORKER_PORTS = range(10_002, 20_000)
"""Ports that Ray gives to workers unless told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A running cluster of one node."""

    address: str
    dashboard: str
    environment: dict[str, str]


@contextmanager
def open_head() -> Iterator[Head]:
    """Start `ray start --head` and end all its processes; never by `ray stop`, which ends those of others."""
    folder = Path(tempfile.mkdtemp(prefix="sh-"))
    port, dashboard, client = free_ports(3)
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32), encoding="ascii")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_"))},
        # In spite of its name this is what puts every listener on 127.0.0.1.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "COLUMNS": "120",
    }
    words = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"),
        *("--node-ip-address=127.0.0.1", f"--port={port}", f"--dashboard-port={dashboard}", "--num-cpus=2"),
        *(f"--ray-client-server-port={client}", "--dashboard-agent-listen-port=0", f"--temp-dir={folder}"),
        *("--no-monitor", "--include-log-monitor=false"),
    ]
    with (folder / "head.log").open("wb") as log:
        process = subprocess.Popen(words, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(f"http://127.0.0.1:{dashboard}/api/version", process, folder / "head.log")
        yield Head(address=f"127.0.0.1:{port}", dashboard=f"http://127.0.0.1:{dashboard}", environment=environment)
    finally:
        end_tree(process, folder)
        shutil.rmtree(folder, ignore_errors=True)


def sweep(head: Head, *words: str, timeout: float = 180) -> subprocess.CompletedProcess[str]:
    """Run the program beside the cluster and return how it ended."""
    return subprocess.run(
        [sys.executable, "-m", "sweep.cli", *words],
        env=head.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def free_ports(count: int) -> list[int]:
    """Return ports on which nobody listens, outside of those of Ray's workers."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port not in WORKER_PORTS and port not in found:
            found.append(port)
    return found


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return once somebody answers at `url`, whatever it says."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text(encoding="utf-8", errors="replace")[-3000:]
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError(f"no answer from {url} in {START_SECONDS} s")


def end_tree(process: subprocess.Popen[bytes], folder: Path) -> None:
    """End a process, its children, and whoever else was started with the folder in its arguments."""
    own = {process.pid} | {child.pid for child in psutil.Process(process.pid).children(recursive=True)}
    own |= {one.pid for one in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(one.info["cmdline"] or ())}
    own.discard(os.getpid())
    gone = [psutil.Process(pid) for pid in own if psutil.pid_exists(pid)]
    for one in gone:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(gone, timeout=10)
    process.wait(timeout=10)
