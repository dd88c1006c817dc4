"""Have the kernels compiled by one process before several start, which would all compile them at the same time."""

import subprocess
import sys
from collections.abc import Callable
from typing import Final

_MARKER: Final = "compiled"


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
