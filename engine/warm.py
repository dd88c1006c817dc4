"""Compile all kernels of these sources once, so that a sweep's processes only load them: `python -m engine.warm`."""

import time

from engine.guests import Guest
from engine.policies import POLICIES
from engine.simulate import Batch, run_batch


def warm() -> float:
    """Run the smallest batch that uses every kernel; return the seconds that it took."""
    started = time.perf_counter()
    batch = Batch(
        workload="kernbench",
        parameters={"compile_units": 1},
        guest=Guest(vcpus=2, memory_mib=256),
        policies=tuple(POLICIES.values()),
        seed=0,
        window_ns=1_000_000_000,
    )
    run_batch(batch)
    return time.perf_counter() - started


if __name__ == "__main__":
    warm()
