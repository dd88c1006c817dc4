"""Chooses the backend and says why; there is no silent second choice."""

import os
from enum import StrEnum

from sweep.backends.contract import Backend, Work


class BackendName(StrEnum):
    """What `--backend` takes."""

    AUTO = "auto"
    LOCAL = "local"
    RAY = "ray"


def choose_backend(name: BackendName) -> tuple[BackendName, str]:
    """Return the backend to use and the reason."""
    if name is not BackendName.AUTO:
        return name, f"--backend {name.value}"
    if os.environ.get("RAY_ADDRESS"):
        return BackendName.RAY, "auto: RAY_ADDRESS is set"
    return BackendName.LOCAL, "auto: RAY_ADDRESS is not set"


def open_backend(name: BackendName, work: Work, *, workers: int | None = None) -> Backend:
    """Start the backend; imports ray only if it is asked for."""
    if name is BackendName.RAY:
        from sweep.backends.ray import RayBackend

        return RayBackend(work, workers)
    from sweep.backends.local import LocalBackend

    return LocalBackend(work, workers)
