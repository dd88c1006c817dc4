"""Have the kernels compiled by one process before several start, which would all compile them at the same time."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

_MARKER: Final = "compiled"
_KEEP_SECONDS: Final = 7 * 24 * 3600
"""How long kernels of other sources stay in the cache: some 80 MB each (assumption: a week of switching branches)."""


def ensure_compiled(say: Callable[[str], None]) -> None:
    """Compile the kernels of these sources unless an earlier start did.

    Raises:
        RuntimeError: the compiler failed; its last words are in the message.
    """
    from engine.jit import cache_directory

    marker = cache_directory() / _MARKER
    if marker.exists():
        return
    say("compiling the kernels, once per version of the engine: a few minutes")
    done = subprocess.run([sys.executable, "-m", "engine.warm"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the kernels do not compile: {done.stderr[-2000:]}")
    marker.touch()
    _forget_old(marker.parent)


def _forget_old(current: Path) -> None:
    """Remove what was compiled for sources that nobody has run for a while."""
    oldest = time.time() - _KEEP_SECONDS
    for folder in current.parent.iterdir():
        if folder != current and folder.stat().st_mtime < oldest:
            shutil.rmtree(folder, ignore_errors=True)
