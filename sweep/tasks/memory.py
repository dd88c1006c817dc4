"""How much memory a batch needs: what the scheduler reserves, so that no more of them start on a machine than fit."""

from typing import Final

from engine.vocabulary import COUNTER_NAMES, LANES_MAX
from sweep.plan.plan import PlannedBatch
from sweep.tasks.task import Simulate
from sweep.tasks.worker import simulate_batch

WORKER_BYTES: Final = 400 << 20
"""A worker with polars and the core loaded, before its first batch (measured: 330 to 380 MiB resident)."""
_TABLE_BYTES: Final = 1024
"""engine.guest.state keeps a table of 512 entries for every fourth page of guest memory."""
_PAGE_BYTES: Final = 8
"""One more number for each page of guest memory: engine.guest.state.State.gather; and one for each vCPU: stamps."""
_WINDOWS: Final = 4096
"""Windows that are held until the end of a batch (assumption: 40 s of guest time in windows of 10 ms)."""
_UNIT_BYTES: Final = 64 << 20
"""Sizes are rounded up to this: each size is a class of its own to a scheduler."""


def batch_bytes(planned: PlannedBatch, simulate: Simulate) -> int:
    """Return an upper bound of the memory that a worker needs for a batch; arrays count whole, touched or not."""
    windows = _WINDOWS * len(planned.policies) * len(COUNTER_NAMES) * 8
    needed = WORKER_BYTES + windows
    if simulate is simulate_batch:
        needed += _engine_bytes() + guest_bytes(planned)
    return -(-needed // _UNIT_BYTES) * _UNIT_BYTES


def guest_bytes(planned: PlannedBatch) -> int:
    """Return the size of the guest model's arrays that grow with the guest."""
    from engine.guest.state import FRAME

    guest = planned.coordinate.guest
    return guest.pages * (_TABLE_BYTES + FRAME.itemsize + _PAGE_BYTES * (1 + guest.vcpus))


def _engine_bytes() -> int:
    """Return the size of the lane machine: the same for any number of lanes up to `LANES_MAX`."""
    from engine.core.machine import MACHINE_BYTES

    assert LANES_MAX == 64
    return MACHINE_BYTES
