"""Waits for the end of the driver and then clears away the Ray cluster that it had started: processes and folder.

    python -I guard.py FOLDER < pipe

The driver holds the other end of the pipe; it closes when the driver does, whatever has ended it, SIGKILL included.
Every process of that cluster has the folder's name, which is unique, in its arguments, in its environment, or in the
name of a file that it writes: Ray's agents put their title over the first two, and their log below the folder.
"""

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_SECONDS: Final = 30.0
"""How long processes may take to be gone (assumption; SIGKILL takes milliseconds)."""
_PAUSE_SECONDS: Final = 0.05


def members(folder: str) -> Iterator[int]:
    """Yield the processes of the cluster whose folder this is, this process and its driver aside."""
    mark, below, aside = os.fsencode(folder), f"{Path(folder).resolve()}/", {os.getpid(), os.getppid()}
    for path in Path("/proc").glob("[0-9]*"):
        pid = int(path.name)
        try:
            if pid not in aside and (_names(path, mark) or _writes(path, below)):
                yield pid
        except OSError:
            continue  # It has ended, or is somebody else's.


def _names(process: Path, mark: bytes) -> bool:
    return any(mark in (process / name).read_bytes() for name in ("cmdline", "environ"))


def _writes(process: Path, below: str) -> bool:
    """Say whether a process has a file whose path begins so open for writing; who only reads one is somebody else."""
    for entry in (process / "fd").iterdir():
        with contextlib.suppress(OSError):  # It has been closed.
            if str(entry.readlink()).startswith(below):
                flags = (process / "fdinfo" / entry.name).read_text(encoding="ascii").partition("flags:")[2].split()[0]
                if int(flags, base=8) & os.O_ACCMODE != os.O_RDONLY:
                    return True
    return False


def clear_away(folder: str) -> None:
    """Kill what is left of the cluster, and remove its folder."""
    deadline = time.monotonic() + _SECONDS
    while (found := list(members(folder))) and time.monotonic() < deadline:
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(_PAUSE_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    clear_away(sys.argv[1])
