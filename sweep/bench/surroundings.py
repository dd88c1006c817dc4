"""Measures what the engine stands in: the memory of the machine, another simulator, a process's start, the compiler."""

import importlib.util
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from engine.vocabulary import Event
from sweep.bench.engine import Trace
from sweep.bench.figures import Figure, Measured, Missing

PROBE_BYTES: Final = 1 << 28
"""Much more than caches hold (assumption: a machine has less than 256 MiB of them)."""
LINE_BYTES: Final = 64
LRU_SHARE: Final = 0.1
"""Part of all pages that the LRU cache holds (assumption; the share moves its speed by a few percent)."""
FIRST_EVENT: Final = """
import numpy as np
from engine.core.machine import LaneMachine
from engine.events import EVENT
from engine.guests import Guest
from engine.knobs import Knobs, Policy
from engine.vocabulary import Event
machine = LaneMachine([Policy(name="p", summary="s", source="s", knobs=Knobs())], Guest())
events = np.zeros(1, EVENT)
events["kind"] = Event.TOUCH
machine.feed(events)
"""
ROOT: Final = Path(__file__).resolve().parents[2]


def measure_memory(rounds: int) -> Figure:
    """Return what reading a random cache line of a large array takes: the limit of whoever touches many lines."""
    lines = np.zeros(PROBE_BYTES // LINE_BYTES, f"V{LINE_BYTES}").view(np.uint64).reshape(-1, LINE_BYTES // 8)
    order = np.random.default_rng(0).permutation(len(lines))
    first = lines[:, 0]

    def read() -> None:
        first.take(order)

    return Figure(
        name=f"random read of {PROBE_BYTES >> 20} MiB",
        unit="ns/line",
        rounds=tuple(seconds / len(order) * 1e9 for seconds in _timed(read, rounds)),
    )


def measure_lru(trace: Trace, rounds: int) -> Measured:
    """Return what libCacheSim's LRU takes for the pages that a trace touches, as a yardstick of another field."""
    name = "libCacheSim LRU, pages of the same trace"
    if importlib.util.find_spec("libcachesim") is None:
        return Missing(name=name, reason="the package libcachesim is not there: `make bench` installs it")
    import libcachesim

    touched = [events["address"][events["kind"] == Event.TOUCH] >> 12 for events in trace.events]
    pages = np.concatenate(touched)
    # Its own binary form, which it reads fastest: time, object, size, next use (unknown).
    requests = np.zeros(len(pages), [("time", "<u4"), ("object", "<u8"), ("size", "<u4"), ("next", "<i8")])
    requests["object"], requests["size"], requests["next"] = pages, 1, -1
    capacity = max(1, int(len(np.unique(pages)) * LRU_SHARE))
    with tempfile.NamedTemporaryFile(suffix=".oracleGeneral.bin") as file:
        requests.tofile(file.name)

        def run() -> None:
            reader = libcachesim.TraceReader(
                file.name,
                libcachesim.TraceType.ORACLE_GENERAL_TRACE,
                libcachesim.ReaderInitParam(ignore_obj_size=True),
            )
            libcachesim.LRU(cache_size=capacity).process_trace(reader)

        seconds = _timed(run, rounds)
    return Figure(name=name, unit="ns/request", rounds=tuple(one / len(pages) * 1e9 for one in seconds))


def measure_start(rounds: int) -> Figure:
    """Return what a process takes from its start to its first event."""

    def start() -> None:
        subprocess.run([sys.executable, "-c", FIRST_EVENT], check=True, cwd=ROOT)

    return Figure(name="process start to first event", unit="s", rounds=_timed(start, rounds))


def measure_compile() -> Measured:
    """Return the CPU time that building the core takes; once, for it is long and varies little."""
    name = "building the core"
    if not (ROOT / "setup.py").is_file():
        return Missing(name=name, reason="this is no checkout")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "setup.py", "-q", "build_ext", "--build-temp", folder, "--build-lib", folder]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode:
        return Missing(name=name, reason=f"the compiler failed: {ended.stderr.strip().splitlines()[-1]}")
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Figure(name=name, unit="CPU-s", rounds=(seconds,))


def _timed(work: Callable[[], None], rounds: int) -> tuple[float, ...]:
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return tuple(taken)
