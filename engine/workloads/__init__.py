"""The workloads by name. To add one: a module with a `WORKLOAD`, and a line in the list below."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from engine.workloads import exec as exec_workload
from engine.workloads import fork, kernbench, mmap, pingpong, recorded
from engine.workloads.contract import Workload

WORKLOADS: Final[Mapping[str, Workload]] = MappingProxyType(
    {
        workload.name: workload
        for workload in (
            kernbench.WORKLOAD,
            recorded.WORKLOAD,
            fork.WORKLOAD,
            exec_workload.WORKLOAD,
            mmap.WORKLOAD,
            pingpong.WORKLOAD,
        )
    }
)
"""All workloads, in the order in which they are shown."""
