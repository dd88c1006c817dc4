"""Compile kernels with numba, cached on disk in a directory that no other version of the sources shares.

numba's own cache looks only at the file of the function itself: after an edit of a compiled callee in another file it
loads the old machine code and gives a wrong answer. The directory is therefore named by a hash of every source that
may hold a kernel. Import `kernel` from here, never `numba.njit`, so that the directory is set before it is used.
"""

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar, cast

import numba

_ROOT: Final = Path(__file__).resolve().parent.parent
_KERNEL_SOURCES: Final = ("engine", "sweep/trace")
_DIGEST_BYTES: Final = 10

P = ParamSpec("P")
R = TypeVar("R")


def source_digest() -> str:
    """Hash the paths and the text of all sources that may hold kernels."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for folder in _KERNEL_SOURCES:
        for path in sorted((_ROOT / folder).rglob("*.py")):
            text = path.read_bytes()
            digest.update(f"{path.relative_to(_ROOT)}\0{len(text)}\0".encode())
            digest.update(text)
    return digest.hexdigest()


def cache_directory() -> Path:
    """Return the directory for compiled kernels of these sources; create it if it is not there."""
    private_name = f"shadowsweep-{os.getuid()}"
    bases = [Path(tempfile.gettempdir()) / private_name]
    # A container may know no home for its user.
    with contextlib.suppress(RuntimeError):
        bases.insert(0, Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shadowsweep")
    for base in bases:
        path = base / "kernels" / source_digest()
        if _made_private(base) and _made_private(path):
            return path
    return Path(tempfile.mkdtemp(prefix="shadowsweep-kernels-"))


def configure_cache() -> None:
    """Point numba at the cache directory, in this process and in those that it starts."""
    path = str(cache_directory())
    os.environ["NUMBA_CACHE_DIR"] = path
    cast(Any, numba.config).CACHE_DIR = path


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function to machine code that holds no GIL and keeps strict arithmetic."""
    compiled = numba.njit(nogil=True, cache=True)(function)
    return cast(Callable[P, R], compiled)


def array_kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile as `kernel` does, but without reference counts: for functions that only use arrays that they are given.

    Numba counts references of each array of a tuple at each call, with locked instructions; for the guest model, whose
    state is a tuple of arrays, that takes two thirds of the run time. A function that would allocate fails to compile.
    """
    compiled = numba.njit(nogil=True, cache=True, _nrt=False)(function)
    return cast(Callable[P, R], compiled)


def _made_private(path: Path) -> bool:
    """Make a directory; refuse one that another user owns or may write, because cached code is run as it is."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
    except OSError:
        return False
    writable = bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
    return status.st_uid == os.getuid() and not writable and os.access(path, os.W_OK)


configure_cache()
