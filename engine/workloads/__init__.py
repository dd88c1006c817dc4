"""The workloads by name. To add one: a module with a `WORKLOAD`, and its name in the list below.

The registry is made when it is first asked for: the guest model reads the contract of this package, and the workloads
read the guest model's parameters, so that importing all of them here would run in a circle.
"""

import functools
import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from engine.workloads.contract import Workload

if TYPE_CHECKING:
    WORKLOADS: Mapping[str, Workload]
    """All workloads, in the order in which they are shown."""

_MODULES: Final = ("kernbench", "recorded", "fork", "exec", "mmap", "pingpong")


@functools.cache
def _registry() -> Mapping[str, Workload]:
    found = (importlib.import_module(f"engine.workloads.{module}").WORKLOAD for module in _MODULES)
    return MappingProxyType({workload.name: workload for workload in found})


def __getattr__(name: str) -> Any:
    """Return the registry when it is asked for."""
    if name == "WORKLOADS":
        return _registry()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
