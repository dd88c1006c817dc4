"""A Ray cluster of our own on this machine: loopback only, no dashboard, no statistics, and nothing left of it."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from sweep.backends.ray.connection import QUIET

_STORE_BYTES: Final = 80 << 20
"""Object store of the cluster: outcomes are under a kilobyte; Ray takes 75 MiB at least."""
_END_SECONDS: Final = 60.0


class OwnCluster:
    """Starts Ray here and clears it away again; a guard process does the latter if this one is killed."""

    def __init__(self, workers: int | None, token: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sweep-ray-"))
        guard = Path(__file__).with_name("guard.py")
        self._guard = subprocess.Popen(
            [sys.executable, "-I", str(guard), str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        path = self.folder / "token"
        path.touch(mode=0o600)
        path.write_text(token, encoding="ascii")
        # Ray takes these from the environment alone, that of this process for the driver and for all that it starts.
        os.environ |= {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(path),
            # In spite of its name this is what puts every listener on 127.0.0.1.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        self._workers = workers or len(os.sched_getaffinity(0))

    def start(self, ray: Any) -> None:
        """Start the cluster and connect to it."""
        # A lost terminal sends SIGHUP to all that it has started: the driver alone decides what comes of it.
        previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        # Ray reads the mode when it is imported, which another part of this process may have done long ago.
        ray._raylet.Config.initialize("")  # noqa: SLF001  As Ray does itself when it finds a token.
        try:
            ray.init(
                address="local",
                num_cpus=self._workers,
                include_dashboard=False,
                object_store_memory=_STORE_BYTES,
                # Ray opens its own folder to everybody; the one around it stays ours.
                _temp_dir=str(self.folder / "ray"),
                **QUIET,
            )
        finally:
            signal.signal(signal.SIGHUP, previous)

    def close(self) -> None:
        """Wait until all its processes are gone and the folder is removed."""
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._guard.wait(_END_SECONDS)
