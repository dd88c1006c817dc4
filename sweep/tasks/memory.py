"""How much memory a batch needs: what the scheduler reserves, so that no more of them start on a machine than fit."""

from typing import Final

from engine.operations import WINDOWS_MAX
from engine.vocabulary import COUNTER_NAMES
from sweep.plan.plan import PlannedBatch
from sweep.tasks.task import Simulate
from sweep.tasks.worker import simulate_batch

WORKER_BYTES: Final = 400 << 20
"""A worker with polars and the core loaded, before its first batch (measured: 330 to 380 MiB resident)."""
_MACHINE_BYTES: Final = 512 << 20
"""Shadow pages of the lane machine (measured: 150 to 350 MiB, builds under 13 and 64 policies on 0.5 to 4 GiB)."""
_MORE_LANES: Final = 64
_MORE_BYTES: Final = 128 << 20
"""What each further 64 policies add to that (measured: 105 MiB, a build under 512 policies on 1 GiB)."""
_IDLE_PAGE_BYTES: Final = 8
"""What a page of guest memory takes that nothing uses (measured on 1 TiB: 6 bytes; free blocks, direct map)."""
_USED_PAGES_MAX: Final = 1 << 20
"""Pages that a batch uses at most (assumption: 4 GiB; a kernel build with eight jobs uses less)."""
_TABLE_BYTES: Final = 512
"""One page table for sixteen used pages (assumption), in the guest model and in the lane machine."""
_FRAME_BYTES: Final = 16
"""Lists of a frame in the lane machine: struct frame. The length of its reverse map takes a byte for each policy."""
_STAMP_BYTES: Final = 8
"""engine.guest.state.State.stamps for each vCPU, and as much in `gather`."""
_NATIVE_NS: Final = 40 * 10**9
"""Guest time of a trace, whose windows are held until its end (assumption; a whole kernel build may take longer)."""
_UNIT_BYTES: Final = 64 << 20
"""Sizes are rounded up to this: each size is a class of its own to a scheduler."""


def batch_bytes(planned: PlannedBatch, simulate: Simulate) -> int:
    """Return the memory that a worker is given for a batch: what is there takes some, what is touched takes more."""
    windows = min(-(-_NATIVE_NS // planned.window_ns), WINDOWS_MAX) * len(planned.policies) * len(COUNTER_NAMES) * 8
    needed = WORKER_BYTES + windows
    if simulate is simulate_batch:
        more = (len(planned.policies) - 1) // _MORE_LANES
        needed += _MACHINE_BYTES + more * _MORE_BYTES + guest_bytes(planned)
    return -(-needed // _UNIT_BYTES) * _UNIT_BYTES


def guest_bytes(planned: PlannedBatch) -> int:
    """Return what grows with the guest's memory and its vCPUs."""
    from engine.guest.state import FRAME

    guest = planned.coordinate.guest
    used = min(guest.pages, _USED_PAGES_MAX)
    lengths = -(-len(planned.policies) // _MORE_LANES) * _MORE_LANES
    per_page = FRAME.itemsize + _STAMP_BYTES * (1 + guest.vcpus) + _FRAME_BYTES + lengths + _TABLE_BYTES
    return guest.pages * _IDLE_PAGE_BYTES + used * per_page
