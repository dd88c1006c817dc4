"""Tasks on a Ray cluster, one per batch. The only file that imports ray.

Without RAY_ADDRESS it starts a cluster of its own on this machine: listeners on loopback only, no dashboard, no usage
statistics, its own token and temporary folder, all gone at the end. Never calls `ray stop`, which ends the clusters of
others as well.
"""

import os
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from sweep.backends.contract import BackendError, Work
from sweep.worker import Outcome, Task, died

_POLL_SECONDS: Final = 0.25
"""How long a wait in Ray may keep Ctrl-C from being seen."""
_CONNECT_SECONDS: Final = 10
"""How long a cluster may take to open a connection (assumption)."""
_RESULT_SECONDS: Final = 60
"""How long a finished task's counts may take to come here (assumption)."""
_WINDOW_PER_WORKER: Final = 2
_TASK_BYTES: Final = 2 << 30
"""Memory that Ray reserves for a batch (assumption): no more of them start on a node than fit."""


class RayBackend:
    """Ray tasks with no retries of Ray's own, so that one rule for retries holds for all backends."""

    name = "ray"

    def __init__(self, work: Work, workers: int | None = None) -> None:
        self._folder: Path | None = None
        self._environment = dict(os.environ)
        # Ray prints about dead workers on stdout, which belongs to the summary.
        self._stdout, sys.stdout = sys.stdout, sys.stderr
        self._running: dict[Any, Task] = {}
        try:
            self._ray = self._connect(workers)
            self.workers = self._capacity()
        except BaseException as error:
            self.close()
            if isinstance(error, Exception) and not isinstance(error, BackendError):
                text = f"backend ray: {type(error).__name__}: {error}"
                raise BackendError(f"{text}\n  check RAY_ADDRESS, or run with --backend local") from error
            raise
        self.window = _WINDOW_PER_WORKER * self.workers
        memory = min(_TASK_BYTES, self._memory_share())
        options = {"num_cpus": 1, "max_retries": 0, "retry_exceptions": False, "memory": memory}
        self._remote = self._ray.remote(**options)(work)

    def submit(self, task: Task) -> None:
        """Send a task to the cluster."""
        self._running[self._remote.remote(task)] = task

    def as_completed(self) -> Iterator[Outcome | None]:
        """Yield outcomes as they come, and None from time to time."""
        while self._running:
            done, _ = self._ray.wait(list(self._running), num_returns=1, timeout=_POLL_SECONDS)
            if not done:
                yield None
            for reference in done:
                task = self._running.pop(reference)
                try:
                    outcome: Outcome = self._ray.get(reference, timeout=_RESULT_SECONDS)
                except self._ray.exceptions.RayError as error:
                    outcome = died(task, f"{type(error).__name__}: {str(error).splitlines()[0]}")
                yield outcome

    def close(self) -> None:
        """Cancel what runs, leave the cluster, and remove it if it is ours."""
        if hasattr(self, "_ray"):
            for reference in self._running:
                self._ray.cancel(reference, force=True)
            self._ray.shutdown()
        self._running.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        sys.stdout = self._stdout
        os.environ.clear()
        os.environ.update(self._environment)

    def _connect(self, workers: int | None) -> Any:
        address = os.environ.get("RAY_ADDRESS")
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
        if address:
            _check_reachable(address)
            import ray

            ray.init(address=address, **quiet)
            return ray
        self._folder = Path(tempfile.mkdtemp(prefix="sweep-ray-"))
        token = self._folder / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32), encoding="ascii")
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)
        # In spite of its name this is what puts every listener on 127.0.0.1.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        import ray

        slots = workers or len(os.sched_getaffinity(0))
        ray.init(address="local", num_cpus=slots, include_dashboard=False, _temp_dir=str(self._folder), **quiet)
        return ray

    def _capacity(self) -> int:
        slots = int(self._ray.cluster_resources().get("CPU", 0))
        if slots < 1:
            raise BackendError("backend ray: the cluster has no CPU\n  start a node with `ray start --address=...`")
        return slots

    def _memory_share(self) -> int:
        memory = float(self._ray.cluster_resources().get("memory", _TASK_BYTES))
        return int(memory / self.workers / 2)


def _check_reachable(address: str) -> None:
    """Raise BackendError if nobody listens at `address`; Ray itself would try for minutes and then end the process."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        text = f"backend ray: nobody answers at RAY_ADDRESS={address} ({error.strerror or error})"
        raise BackendError(f"{text}\n  start the cluster, unset RAY_ADDRESS, or run with --backend local") from error
