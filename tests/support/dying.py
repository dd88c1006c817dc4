"""Lets writers of a run die, and checks what they leave; tests/results/store/test_crashes.py starts this.

    python -m tests.support.dying kills FOLDER TIMES    at any time, in the middle of any file, before changes of names
    python -m tests.support.dying steps FOLDER          before each change of a name, one after the other
    python -m tests.support.dying disk FOLDER TIMES     of a disk that is full; below `unshare --mount`, so that nobody
                                                        else sees it

Prints what came about as JSON. Writers and readers are forks of this process, which starts no threads itself: a fork
costs milliseconds where a new interpreter costs a second.
"""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from results.store.run_store import RunStore
from tests.support.crashing import (
    DISK_FULL,
    batches_seen,
    expected_exits,
    state_of,
    write_run,
    write_until_byte,
    write_until_step,
    write_while_there_is_room,
)
from tests.support.synthetic import bytes_of

BATCHES: Final = 2
DEATHS: Final = (-signal.SIGKILL, -signal.SIGXFSZ)
PAGE: Final = 4096
ROOM_PAGES: Final = 400
"""More than the run ever needs."""
SEED: Final = 2011


def in_a_process(act: Callable[..., int | None], *arguments: Any, seconds: float | None = None) -> int:
    """Fork, act, and return the exit code; the fork is killed after some time, if given."""
    child = os.fork()
    if not child:
        try:
            code = act(*arguments) or 0
        except BaseException:  # noqa: BLE001  Nothing may run on in the fork.
            traceback.print_exc()
            code = 255
        os._exit(code)
    if seconds is not None:
        handle = os.pidfd_open(child)
        if not select.select([handle], [], [], seconds)[0]:
            os.kill(child, signal.SIGKILL)
        os.close(handle)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@dataclass(slots=True)
class Bench:
    """Where runs are written, what they must become, and which states of a run were read before."""

    folder: Path
    known: dict[str, int] = field(default_factory=dict)

    def undisturbed(self) -> float:
        """Write the run that nobody disturbs; return its seconds."""
        start = time.perf_counter()
        require(in_a_process(write_run, self.folder / "whole", BATCHES) == 0, "the undisturbed run failed")
        return time.perf_counter() - start

    def batches(self, run: Path) -> int:
        """Return how many batches all readers see; a state whose very bytes were read before is known."""
        state = state_of(run)
        if state not in self.known:
            self.known[state] = in_a_process(batches_seen, run, expected_exits(BATCHES))
        require(self.known[state] <= BATCHES, f"{run}: readers do not see whole batches")
        return self.known[state]

    def finish(self, run: Path) -> None:
        """Go on with a run, and check that it ends as if nothing had happened."""
        require(in_a_process(write_run, run, BATCHES) == 0, f"{run}: the next writer failed")
        require(in_a_process(compare, run, self.folder / "whole") == 0, f"{run} is not the undisturbed run")
        shutil.rmtree(run)


def compare(run: Path, whole: Path) -> None:
    """Check that a run has the same files and commits as another one, and nothing left over."""
    store, other = RunStore(run), RunStore(whole)
    assert bytes_of(store) == bytes_of(other)
    assert store.manifest.committed() == other.manifest.committed()
    assert store.orphans() == []


def kills(bench: Bench, times: int) -> dict[str, Any]:
    """Let writers die in any way until that has happened so often."""
    killed = runs = there = 0
    seen = set()
    for die in deaths(bench.undisturbed()):
        run = bench.folder / f"{runs}"
        code = die(run)
        require(code in {0, *DEATHS}, f"{run}: the writer ended with {code}")
        batches = bench.batches(run)
        require(batches >= there, f"{run}: {there} batches were there, now {batches}")
        seen.add(batches)
        there = batches
        killed += code in DEATHS
        if code == 0 or killed == times:
            bench.finish(run)
            runs, there = runs + 1, 0
        if killed == times:
            break
    return {"killed": killed, "runs": runs, "seen": sorted(seen), "states": len(bench.known)}


def deaths(undisturbed: float) -> Iterator[Callable[[Path], int]]:
    """Yield ways to let a writer die."""
    draw = np.random.default_rng(SEED)
    while True:
        seconds = float(draw.uniform(0.0, undisturbed))
        yield lambda run, seconds=seconds: in_a_process(write_run, run, BATCHES, seconds=seconds)
        size = int(draw.integers(1, 60_000))
        yield lambda run, size=size: in_a_process(write_until_byte, run, BATCHES, size)
        step = int(draw.integers(0, 60))
        yield lambda run, step=step: in_a_process(write_until_step, run, BATCHES, step)


def steps(bench: Bench) -> dict[str, Any]:
    """Let writers die before the first step, the second one, and so on until one lives."""
    bench.undisturbed()
    step, seen, code = 0, set(), -signal.SIGKILL
    while code == -signal.SIGKILL:
        run = bench.folder / f"{step}"
        code = in_a_process(write_until_step, run, BATCHES, step)
        seen.add(bench.batches(run))
        bench.finish(run)
        step += 1
    return {"code": code, "steps": step - 1, "seen": sorted(seen)}


def full_disks(bench: Bench, times: int) -> dict[str, Any]:
    """Grow a disk page by page until the run fits, again and again; read the run each time that the disk is full."""
    bench.undisturbed()
    sizes = np.random.default_rng(SEED)
    disk = bench.folder / "disk"
    disk.mkdir()
    full = runs = 0
    while full < times:
        run, pages = disk / "run", 1
        mount("-t", "tmpfs", "-o", f"size={pages * PAGE}", "tmpfs", str(disk))
        while (code := in_a_process(write_while_there_is_room, run, BATCHES)) == DISK_FULL:
            full += 1
            bench.batches(run)
            pages += int(sizes.integers(1, 16))
            require(pages < ROOM_PAGES, f"the run does not fit into {pages} pages")
            mount("-o", f"remount,size={pages * PAGE}", str(disk))
        require(code == 0, f"the writer ended with {code}")
        bench.finish(run)
        subprocess.run(["umount", str(disk)], check=True)
        runs += 1
    return {"full": full, "runs": runs}


def mount(*arguments: str) -> None:
    """Mount, and say why if that fails."""
    subprocess.run(["mount", *arguments], check=True)


def require(condition: object, otherwise: str) -> None:
    """End with an error unless the condition holds."""
    if not condition:
        sys.exit(otherwise)


if __name__ == "__main__":
    way, where, *number = sys.argv[1:]
    found = {"kills": kills, "steps": steps, "disk": full_disks}[way](Bench(Path(where)), *map(int, number))
    print(json.dumps(found))  # noqa: T201  The test reads it.
