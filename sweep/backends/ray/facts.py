"""What a sweep needs to know of one machine; runs on every node, with the standard library and our own code only."""

import os
import platform
import resource
import shutil
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from engine.core import CoreError

PACKAGES: Final = ("ray", "numpy", "pyarrow", "polars")
"""Packages whose version can change an answer or whether nodes understand each other."""
_SHM: Final = Path("/dev/shm")  # noqa: S108  It is looked at; nothing is written there.


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """One machine, as it sees itself."""

    host: str
    versions: dict[str, str]
    engine: str
    """Fingerprint of its sources."""
    cores: int
    files_max: int
    """Open files that a process may have (RLIMIT_NOFILE); -1 for no limit."""
    processes_max: int
    """Processes that the user may have (RLIMIT_NPROC); -1 for no limit."""
    temp_folder: str
    temp_free: int
    shm_free: int | None
    """Bytes; None where the system has no /dev/shm."""
    core: str
    """Hash of the sources that its core was built from; what is wrong with the core where it is of no use."""
    clock: float
    """Seconds since 1970 by this machine's clock."""


def gather_facts() -> NodeFacts:
    """Look at this machine."""
    from sweep.plan.cell import engine_fingerprint

    temp = tempfile.gettempdir()
    return NodeFacts(
        host=platform.node(),
        versions={"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        engine=engine_fingerprint(),
        cores=len(os.sched_getaffinity(0)),
        files_max=_limit(resource.RLIMIT_NOFILE),
        processes_max=_limit(resource.RLIMIT_NPROC),
        temp_folder=temp,
        temp_free=shutil.disk_usage(temp).free,
        shm_free=shutil.disk_usage(_SHM).free if _SHM.is_dir() else None,
        core=own_core(),
        clock=time.time(),
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _limit(which: int) -> int:
    soft, _ = resource.getrlimit(which)
    return -1 if soft == resource.RLIM_INFINITY else soft


def own_core() -> str:
    """Return the hash of the sources that the core here was built from, or what is wrong with it."""
    try:
        from engine.core.extension import core
    except CoreError as error:
        return str(error)
    return core.BUILT_FROM
