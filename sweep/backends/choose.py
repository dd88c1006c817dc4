"""Chooses the backend and says why; there is no silent second choice."""

import os
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sweep.backends.contract import Backend, BackendError

if TYPE_CHECKING:
    from sweep.backends.contract import Work


class BackendName(StrEnum):
    """What `--backend` takes."""

    AUTO = "auto"
    LOCAL = "local"
    RAY = "ray"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendChoice:
    """Where batches are to run. `address` is that of a Ray cluster; without one, Ray starts on this machine."""

    name: BackendName
    reason: str
    address: str | None = None
    workers: int | None = None


def choose_backend(name: BackendName, *, address: str | None = None, workers: int | None = None) -> BackendChoice:
    """Return the backend to use and the reason.

    Raises:
        BackendError: an address was given to a backend that has none.
    """
    origin, found = (
        ("--address is given", address) if address else ("RAY_ADDRESS is set", os.environ.get("RAY_ADDRESS"))
    )
    if name is BackendName.LOCAL or (name is BackendName.AUTO and not found):
        if address:
            raise BackendError(f"--address {address}: backend local runs here only\n  leave out --backend local")
        reason = "--backend local" if name is BackendName.LOCAL else "auto: neither --address nor RAY_ADDRESS is set"
        return BackendChoice(name=BackendName.LOCAL, reason=reason, workers=workers)
    reason = f"auto: {origin}" if name is BackendName.AUTO else f"--backend {name.value}"
    if found and workers:
        raise BackendError(
            f"-j {workers}: a cluster runs as many batches as it has room for\n  leave out -j, or the address {found}"
        )
    return BackendChoice(name=BackendName.RAY, reason=reason, address=found or None, workers=workers)


def open_backend(choice: BackendChoice, work: "Work") -> Backend:
    """Start the backend; imports ray only if it is asked for."""
    if choice.name is BackendName.RAY:
        from sweep.backends.ray.backend import RayBackend

        return RayBackend(work, address=choice.address, workers=choice.workers)
    from sweep.backends.local import LocalBackend

    return LocalBackend(work, choice.workers)
