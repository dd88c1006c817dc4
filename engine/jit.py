"""Compile kernels with numba, cached on disk in a directory that no other version of the sources shares.

numba's own cache looks only at the file of the function itself: after an edit of a compiled callee in another file it
loads the old machine code and gives a wrong answer. The directory is therefore named by a hash of all sources that
kernels are compiled from (engine/sources.py), and inside it by the module, not by the place of the checkout: all
checkouts of the same sources load what one of them compiled. Import `kernel` from here, never `numba.njit`, so that
all this holds.
"""

import contextlib
import fcntl
import functools
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar, cast

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, UserProvidedCacheLocator

from engine.sources import ENGINE, KERNEL_SOURCES, source_digest

P = ParamSpec("P")
R = TypeVar("R")


@functools.cache
def cache_directory() -> Path:
    """Return the directory for compiled kernels of these sources; create it if it is not there."""
    private_name = f"shadowsweep-{os.getuid()}"
    bases = [Path(tempfile.gettempdir()) / private_name]
    # A container may know no home for its user.
    with contextlib.suppress(RuntimeError):
        bases.insert(0, Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shadowsweep")
    for base in bases:
        path = base / "kernels" / source_digest(KERNEL_SOURCES)
        if _made_private(base) and _made_private(path):
            return path
    return Path(tempfile.mkdtemp(prefix="shadowsweep-kernels-"))


def configure_cache() -> None:
    """Point numba at the cache directory, in this process and in those that it starts."""
    path = str(cache_directory())
    os.environ["NUMBA_CACHE_DIR"] = path
    cast(Any, numba.config).CACHE_DIR = path


@contextlib.contextmanager
def cache_lock(name: str) -> Iterator[None]:
    """Hold a lock of the cache directory, waiting for any other process that has it."""
    with (cache_directory() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _scipy_aside() -> Iterator[None]:
    """Hide SciPy's linear algebra, which numba looks for before it loads anything: 0.3 s, and no kernel uses it."""
    name = "scipy.linalg"
    hidden = name not in sys.modules
    if hidden:
        cast(dict[str, Any], sys.modules)[name] = None
    try:
        yield
    finally:
        if hidden:
            sys.modules.pop(name, None)


class _ModuleLocator(UserProvidedCacheLocator):  # type: ignore[misc]
    """Place compiled code by module in the directory of the sources' hash; a test's kernel goes by its path."""

    @classmethod
    def get_suitable_cache_subpath(cls, py_file: str) -> str:
        folder = Path(py_file).resolve().parent
        if folder.is_relative_to(ENGINE):
            return ".".join(folder.relative_to(ENGINE.parent).parts)
        return cast(str, super().get_suitable_cache_subpath(py_file))


class _CacheLayout(CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes: Final = (_ModuleLocator,)


class _Cache(FunctionCache):  # type: ignore[misc]
    """numba's cache of one function, which several processes may fill at once.

    numba picks the file of a signature by what its index holds. Without the lock two processes that compile different
    signatures of one function would take the same file, and the index would name the other's machine code.
    """

    _impl_class: Final = _CacheLayout

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        with _scipy_aside():
            return super().load_overload(sig, target_context)

    def save_overload(self, sig: Any, data: Any) -> None:
        with cache_lock("save"):
            super().save_overload(sig, data)


def _compiled(function: Callable[P, R], **options: bool) -> Callable[P, R]:
    if cast(Any, numba.config).DISABLE_JIT:
        return function
    dispatcher: Any = numba.njit(nogil=True, **options)(function)
    dispatcher._cache = _Cache(function)  # noqa: SLF001  numba has no public way to choose a cache.
    typed = dispatcher.get_call_template

    def called(args: Iterable[Any], kws: Mapping[str, Any]) -> Any:
        return typed([_passed_as(kind) for kind in args], {name: _passed_as(kind) for name, kind in kws.items()})

    dispatcher.get_call_template = called
    return cast(Callable[P, R], dispatcher)


def _passed_as(kind: Any) -> Any:
    """Return the type as which a kernel passes an argument to another: int64 for whole numbers that fit into it.

    Numba itself compiles a callee anew for each constant and each width that it is called with: a fifth of the time,
    for machine code that is no faster. Constants True and False are worth it, they rule out branches.
    """
    types: Any = numba.types
    plain = types.unliteral(kind) if isinstance(kind, types.IntegerLiteral) else kind
    return types.int64 if isinstance(plain, types.Integer) and plain.bitwidth < types.int64.bitwidth else plain


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function to machine code that holds no GIL and keeps strict arithmetic."""
    return _compiled(function)


def array_kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile as `kernel` does, but without reference counts: for functions that only use arrays that they are given.

    Numba counts references of each array of a tuple at each call, with locked instructions; for the guest model, whose
    state is a tuple of arrays, that takes two thirds of the run time. A function that would allocate fails to compile.
    """
    return _compiled(function, _nrt=False)


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
