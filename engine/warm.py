"""Compile all kernels of these sources once, so that a sweep's processes only load them: `python -m engine.warm`."""

import subprocess
import sys
import time
from typing import Final

import numpy as np

from engine.digest import TraceDigest
from engine.events import EVENT
from engine.guests import Guest
from engine.jit import cache_lock
from engine.knobs import Policy
from engine.lanes.machine import LaneMachine
from engine.simulate import Batch, run_batch
from engine.vocabulary import Event
from engine.workloads import WORKLOADS

_BATCH: Final = Batch(
    workload="kernbench",
    parameters={"compile_units": 1},
    guest=Guest(vcpus=2, memory_mib=256),
    policies=(Policy(name="any", summary="", source=""),),
    seed=0,
    window_ns=1_000_000_000,
)
"""The smallest batch that uses every kernel: which ones there are, no knob decides."""
_TRACE_ONLY: Final = "trace"


def _make_trace() -> None:
    """Compile what makes a trace."""
    source = WORKLOADS[_BATCH.workload].open(_BATCH.parameters, _BATCH.guest, _BATCH.seed, _BATCH.window_ns)
    for _ in source.chunks():
        pass


def _advance_lanes() -> None:
    """Compile what takes a trace, for which one event is enough."""
    window = np.zeros(1, dtype=EVENT)
    window["kind"] = Event.WINDOW
    LaneMachine(_BATCH.policies, _BATCH.guest).feed(window)
    TraceDigest().update(window)


def warm() -> float:
    """Compile both halves of the kernels side by side, once among all processes; return the seconds that it took."""
    started = time.perf_counter()
    with cache_lock("warm"):
        trace = subprocess.Popen([sys.executable, "-m", "engine.warm", _TRACE_ONLY])
        _advance_lanes()
        if trace.wait():
            raise RuntimeError("the kernels of the guest model do not compile; the reason is above")
        run_batch(_BATCH)
    return time.perf_counter() - started


if __name__ == "__main__":
    if sys.argv[1:] == [_TRACE_ONLY]:
        _make_trace()
    else:
        warm()
