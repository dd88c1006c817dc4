"""Generated builds for tests, small enough to be made in a blink."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from engine.operations import OPERATION, Operations
from engine.vocabulary import Operation
from engine.workloads.kernbench import OWN_PARAMETERS
from engine.workloads.kernbench_run import KernbenchOperations, KernbenchRun, run_from
from engine.workloads.piped import OperationSource

DEFAULTS = {name: parameter.default for name, parameter in OWN_PARAMETERS.items()}


def small_run(
    *, vcpus: int = 2, jobs: int = 3, units: int = 4, seed: int = 1, vfork_as_fork: bool = False
) -> KernbenchRun:
    """Return a run of a few compile units."""
    run = run_from(DEFAULTS | {"compile_units": units, "jobs": jobs}, vcpus=vcpus, seed=seed)
    return replace(run, vfork_as_fork=vfork_as_fork)


def all_of(source: OperationSource) -> Operations:
    """Return all operations of a source as one array."""
    chunks = [chunk.copy() for chunk in source.chunks()]
    return np.concatenate(chunks) if chunks else np.empty(0, OPERATION)


def operations_of(run: KernbenchRun, *, chunk_operations: int = 1 << 20) -> Operations:
    """Return all operations of a run as one array."""
    return all_of(KernbenchOperations(run=run, chunk_operations=chunk_operations))


def of_kind(operations: Operations, kind: Operation) -> Operations:
    """Return the operations of one kind."""
    return operations[operations["kind"] == kind]


def counts(operations: Operations) -> npt.NDArray[np.int64]:
    """Return the number of operations of each kind."""
    return np.bincount(operations["kind"], minlength=len(Operation))
