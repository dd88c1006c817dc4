"""Joins a Ray cluster that is there, and says whether its head answers."""

import os
import socket
from typing import Any, Final

from sweep.backends.contract import BackendError

QUIET: Final = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
"""What keeps Ray from printing most of what it prints."""
_CONNECT_SECONDS: Final = 5


def connect(ray: Any, address: str) -> None:
    """Join the cluster at `address`, which `check_address` has let pass; `ray` is the module.

    Raises what Ray raises: ConnectionError, RuntimeError or RayError.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if address != "auto":
        # The only call of Ray's that asks once; `ray.init` would ask a head that does not know us again for 20 s.
        ray._raylet.GcsClient(address=address)  # noqa: SLF001
    ray.init(address=address, **QUIET)


def head_answers(address: str) -> bool:
    """Say whether somebody listens at `host:port`."""
    try:
        _knock(address)
    except OSError:
        return False
    return True


def check_address(address: str, asker: str = "backend ray:") -> None:
    """Raise BackendError if a cluster can't be at `address`; Ray itself would try for minutes and end the process."""
    if address == "auto":
        return
    hint = "give HOST:PORT of the head (6379 unless changed), on a machine that can reach all nodes"
    if "://" in address:
        scheme = address.partition("://")[0]
        raise BackendError(f"{asker} {address}: a {scheme}:// address is no place to run a driver from\n  {hint}")
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise BackendError(f"{asker} {address}: no HOST:PORT\n  {hint}")
    try:
        _knock(address)
    except OSError as error:
        text = f"{asker} nobody answers at {address} ({error.strerror or error})"
        raise BackendError(f"{text}\n  start the cluster, unset RAY_ADDRESS, or run with --backend local") from error


def _knock(address: str) -> None:
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
