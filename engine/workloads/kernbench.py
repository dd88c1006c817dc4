"""Kernbench: the workload of the seed's figures, instantiated from a recorded kernel build."""

from dataclasses import dataclass
from typing import Any, Final

from engine.fields import Field
from engine.guests import Guest
from engine.workloads.contract import EventSource, Workload
from engine.workloads.kernbench_run import LOADS, KernbenchOperations, run_from
from engine.workloads.piped import GUEST_PARAMETERS, open_piped, with_defaults

FULL_SIZE_UNITS: Final = 368
_SCRIPT: Final = "kernbench script"
_CFS: Final = "Linux 3.0 kernel/sched_fair.c; scaled with 1 + log2(vCPUs) as there"
_SECOND_NS: Final = 1_000_000_000

OWN_PARAMETERS: Final = {
    "compile_units": Field(
        default=FULL_SIZE_UNITS,
        meaning="objects to compile; 368 = 8 recorded builds of 46: about 10,850 processes and 7.7 million page faults",
        minimum=1,
        maximum=1_000_000,
        source="the size of a whole tinyconfig vmlinux (11,238 clones, 7.34 million user page faults)",
    ),
    "scale": Field(
        default=1.0, meaning="factor on compile_units, rounded, at least one unit", minimum=0.0, maximum=1000.0
    ),
    "load": Field(
        default="optimal",
        meaning="jobs: half (vCPUs / 2, but 3 for 2, and 1 for 0), optimal (4 * vCPUs), max (-j without limit)",
        choices=LOADS,
        source=_SCRIPT,
    ),
    "jobs": Field(default=0, meaning="make -j; 0: as `load` says", minimum=0, maximum=1_000_000),
    "vfork_as_fork": Field(
        default=True,
        meaning="true: shells and make fork (CLONE without CLONE_VM); false: they vfork, as recorded",
        source="what shells did in 2011",
    ),
    "sched_latency_ns": Field(
        default=6_000_000, meaning="sysctl_sched_latency", unit="ns", minimum=1000, maximum=_SECOND_NS, source=_CFS
    ),
    "sched_min_granularity_ns": Field(
        default=750_000,
        meaning="sysctl_sched_min_granularity",
        unit="ns",
        minimum=1000,
        maximum=_SECOND_NS,
        source=_CFS,
    ),
    "sched_wakeup_granularity_ns": Field(
        default=1_000_000,
        meaning="sysctl_sched_wakeup_granularity",
        unit="ns",
        minimum=0,
        maximum=_SECOND_NS,
        source=_CFS,
    ),
    "tick_ns": Field(
        default=1_000_000,
        meaning="time slices end at a tick",
        unit="ns",
        minimum=1,
        maximum=_SECOND_NS,
        source="assumption: CONFIG_HZ=1000",
    ),
    "io_wait_ns_max": Field(
        default=20_000_000,
        meaning="bound on recorded waits without a known waker (disk, other programs); 0.52 s of 34.2 s",
        unit="ns",
        minimum=0,
        maximum=_SECOND_NS,
        source="assumption",
    ),
}
"""Parameters of the generator; those of the guest model come beside them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernbench(Workload):
    """A kernel build at any size and load."""

    def open(self, parameters: dict[str, Any], guest: Guest, seed: int, window_ns: int) -> EventSource:
        """Return the trace of one build."""
        chosen = with_defaults(self.parameters, parameters)
        operations = KernbenchOperations(run=run_from(chosen, vcpus=guest.vcpus, seed=seed))
        return open_piped(operations, parameters=chosen, guest=guest, seed=seed, window_ns=window_ns)


WORKLOAD: Final = Kernbench(
    name="kernbench",
    summary="a kernel build of recorded processes at any -j, size and number of vCPUs",
    source="recording of `make -s -j2 mm/` of Linux 6.1.192 (docs/reference/templates.md); loads: kernbench script",
    parameters={**OWN_PARAMETERS, **GUEST_PARAMETERS},
)
