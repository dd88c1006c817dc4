"""Write a run to a disk that is full again and again; `unshare --mount` starts this, so that nobody else sees the disk.

Arguments: where to mount the disk, a folder for the undisturbed run, and the number of times to let it fill up. Prints
how often it was full.
"""

import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from results.store import RunStore
from tests.results.crashing import DISK_FULL, check_readable, expected_exits, write_run, write_while_there_is_room
from tests.results.synthetic import bytes_of

BATCHES: Final = 3
PAGE: Final = 4096
ROOM_PAGES: Final = 400
"""More than the run ever needs."""


def in_a_process(act: Callable[..., None], *arguments: Any) -> int:
    """Fork, act, and return the exit code; this process itself starts no threads, which a fork would lose."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        act(*arguments)
    except BaseException:  # noqa: BLE001  Nothing may run on in the fork.
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def fill(disk: Path, reference: Path, times: int) -> int:
    """Grow the disk page by page until the run fits; check what readers see each time that it was full."""
    sizes = np.random.default_rng(2011)
    full = round_number = 0
    require(in_a_process(write_run, reference, BATCHES) == 0, "the undisturbed run failed")
    while full < times:
        run, pages = disk / f"{round_number}", 1
        mount("-t", "tmpfs", "-o", f"size={pages * PAGE}", "tmpfs", str(disk))
        while (code := in_a_process(write_while_there_is_room, run, BATCHES)) == DISK_FULL:
            full += 1
            require(in_a_process(check, run) == 0, f"{run} of {pages} pages is not readable")
            pages += int(sizes.integers(1, 16))
            require(pages < ROOM_PAGES, f"{run} does not fit into {pages} pages")
            mount("-o", f"remount,size={pages * PAGE}", str(disk))
        require(code == 0, f"the writer of {run} ended with {code}")
        require(in_a_process(compare, run, reference) == 0, f"{run} is another run than the undisturbed one")
        subprocess.run(["umount", str(disk)], check=True)
        round_number += 1
    return full


def check(run: Path) -> None:
    """Check that readers see whole batches only."""
    check_readable(run, expected_exits(BATCHES))


def compare(run: Path, reference: Path) -> None:
    """Check that the run ended as if the disk had never been full, with nothing left over."""
    assert bytes_of(RunStore(run)) == bytes_of(RunStore(reference))
    assert RunStore(run).orphans() == []


def mount(*arguments: str) -> None:
    """Mount, and say why if that fails."""
    subprocess.run(["mount", *arguments], check=True)


def require(condition: object, otherwise: str) -> None:
    """End with an error unless the condition holds."""
    if not condition:
        sys.exit(otherwise)


if __name__ == "__main__":
    disk, reference, times = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    print(fill(disk, reference, times))  # noqa: T201  The test reads it.
