"""Kernbench: the workload of the seed's figures, instantiated from a recorded kernel build."""

from dataclasses import dataclass
from typing import Any, Final

from engine.guests import Guest
from engine.workloads.contract import EventSource, Parameter, Workload
from engine.workloads.kernbench_run import LOADS, KernbenchOperations, run_from
from engine.workloads.piped import GUEST_PARAMETERS, open_piped, with_defaults

FULL_SIZE_UNITS: Final = 368
_CFS: Final = "Linux 3.0 kernel/sched_fair.c; scaled with 1 + log2(vCPUs) as there"

OWN_PARAMETERS: Final = {
    "compile_units": Parameter(
        default=FULL_SIZE_UNITS,
        minimum=1,
        maximum=1_000_000,
        help="objects to compile; 368 = 8 recorded builds of 46: about 10,850 processes and 7.7 million page faults, "
        "the size of a whole tinyconfig vmlinux (11,238 clones, 7.34 million user page faults)",
    ),
    "scale": Parameter(
        default=1.0, minimum=0.0, maximum=1000.0, help="factor on compile_units, rounded, at least one unit"
    ),
    "load": Parameter(
        default="optimal",
        choices=LOADS,
        help="jobs as the kernbench script sets them: half (vCPUs / 2, but 3 for 2, and 1 for 0), optimal (4 * vCPUs), "
        "max (-j without limit)",
    ),
    "jobs": Parameter(default=0, minimum=0, maximum=1_000_000, help="make -j; 0: as `load` says"),
    "vfork_as_fork": Parameter(
        default=True,
        choices=(True, False),
        help="true: shells and make fork, as in 2011 (CLONE without CLONE_VM); false: they vfork, as recorded",
    ),
    "sched_latency_ns": Parameter(
        default=6_000_000, minimum=1000, maximum=1_000_000_000, help=f"sysctl_sched_latency, ns: {_CFS}"
    ),
    "sched_min_granularity_ns": Parameter(
        default=750_000, minimum=1000, maximum=1_000_000_000, help=f"sysctl_sched_min_granularity, ns: {_CFS}"
    ),
    "sched_wakeup_granularity_ns": Parameter(
        default=1_000_000, minimum=0, maximum=1_000_000_000, help=f"sysctl_sched_wakeup_granularity, ns: {_CFS}"
    ),
    "tick_ns": Parameter(
        default=1_000_000,
        minimum=1,
        maximum=1_000_000_000,
        help="assumption: time slices end at a tick of 1 ms (CONFIG_HZ=1000)",
    ),
    "io_wait_ns_max": Parameter(
        default=20_000_000,
        minimum=0,
        maximum=1_000_000_000,
        help="assumption: bound on recorded waits without a known waker, ns (disk, other programs); 0.52 s of 34.2 s",
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
