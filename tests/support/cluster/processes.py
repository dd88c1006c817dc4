"""Starts programs whose whole offspring a test can find, and clusters made of such programs."""

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from sweep.backends.ray.guard import members
from sweep.backends.ray.task import carry_out
from tests.support.project import ROOT

MARK = "SHADOWSWEEP_TEST_MARK"
PATIENCE_SECONDS = 150
"""How long a test waits for what must come: a busy machine takes half a minute to start a cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A marked environment with a temporary folder of its own. Its name is short: Ray makes sockets below it."""

    folder: Path
    environment: dict[str, str]
    """What every process of the test has in its environment, the mark among it."""

    def start(self, *words: str, **environment: str) -> "subprocess.Popen[str]":
        """Start a module of this project in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=ROOT,
            env=self.environment | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a module of this project to its end."""
        return ended(self.start(*words, **environment))

    def alive(self) -> dict[int, str]:
        """Return the processes of the test that are there, by pid."""
        mark = self.environment[MARK]
        found = {}
        for process in psutil.process_iter():
            try:
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark:
                    found[process.pid] = " ".join(process.cmdline())
            except psutil.Error:
                continue
        return found

    def left_files(self) -> list[str]:
        """Return what is left in the temporary folder."""
        return sorted(path.name for path in self.folder.iterdir())


@contextmanager
def open_bench() -> Iterator[Bench]:
    """Give a bench, and end what a failed test has left."""
    folder = Path(tempfile.mkdtemp(prefix="sb-", dir="/tmp"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_"))}
    environment |= {MARK: secrets.token_hex(8), "TMPDIR": str(folder), "PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    bench = Bench(folder=folder, environment=environment)
    try:
        yield bench
    finally:
        for pid in bench.alive():
            try:
                psutil.Process(pid).kill()
            except psutil.NoSuchProcess:
                continue
        shutil.rmtree(folder, ignore_errors=True)


def ended(process: "subprocess.Popen[str]") -> subprocess.CompletedProcess[str]:
    """Wait for a process and return how it ended."""
    try:
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"no end after {PATIENCE_SECONDS} s:\n{out}\n{err}") from None
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def wait_until(condition: Callable[[], object], process: "subprocess.Popen[str] | None" = None) -> None:
    """Return once `condition` holds; fail if `process` ends before or if it takes too long.

    To look takes a fifth of the time at most, so that it does not slow down what is waited for.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        begun = time.monotonic()
        if condition():
            return
        if process is not None and process.poll() is not None:
            raise AssertionError(f"ended too early: {process.communicate()}")
        now = time.monotonic()
        assert now < deadline, "it did not come to that"
        time.sleep(max(0.05, 4 * (now - begun)))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningCluster:
    """A cluster in a process of its own."""

    host: "subprocess.Popen[str]"
    folder: Path
    address: str
    access: dict[str, str]
    """What a program needs in its environment to join."""

    def tell(self, line: str) -> None:
        """Change the cluster, and wait until that is done."""
        assert self.host.stdin is not None
        assert self.host.stdout is not None
        self.host.stdin.write(line + "\n")
        self.host.stdin.flush()
        assert self.host.stdout.readline() == "ok\n"

    def end_workers(self) -> None:
        """Kill what is left of Ray's workers, of which drivers are none."""
        for pid in members(str(self.folder)):
            with contextlib.suppress(psutil.NoSuchProcess):
                worker = psutil.Process(pid)
                if "".join(worker.cmdline()).startswith("ray::"):
                    worker.kill()

    def busy_workers(self) -> list[psutil.Process]:
        """Return the workers that have a task."""
        busy = []
        for one in psutil.Process(self.host.pid).children(recursive=True):
            try:
                if one.cmdline()[:1] == [f"ray::{carry_out.__name__}"]:
                    busy.append(one)
            except psutil.Error:
                continue
        return sorted(busy, key=lambda one: one.pid)


@contextmanager
def open_cluster(bench: Bench, *cpus: int) -> Iterator[RunningCluster]:
    """Give a cluster of a head and nodes with so many CPUs, on loopback, with a token of its own."""
    # Ray gives its processes 30 s to start: among other tests that may fail once.
    cluster = started_cluster(bench, cpus) or started_cluster(bench, cpus)
    assert cluster is not None, "the cluster does not start"
    try:
        yield cluster
    finally:
        done = ended(cluster.host)
        # Workers that have lost their head write until they notice, a minute later if it was lost before they were.
        cluster.end_workers()
        wait_until(lambda: not any(members(str(cluster.folder))))
        shutil.rmtree(cluster.folder)
    assert done.returncode == 0, done.stderr


def started_cluster(bench: Bench, cpus: tuple[int, ...]) -> RunningCluster | None:
    """Return a cluster that has started, None if it has not."""
    folder = Path(tempfile.mkdtemp(prefix="c-", dir=bench.folder))
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32), encoding="ascii")
    access = {
        # In spite of its name this is what puts every listener on 127.0.0.1.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    host = bench.start("tests.support.cluster.host", str(folder), *map(str, cpus), RAY_TMPDIR=str(folder), **access)
    assert host.stdout is not None
    address = host.stdout.readline().strip()
    if address:
        return RunningCluster(host=host, folder=folder, address=address, access=access)
    ended(host)
    shutil.rmtree(folder, ignore_errors=True)
    return None
