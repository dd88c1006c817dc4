"""One run of kernbench: a kernel build at any size and load, made of recorded processes.

The recording is one `make` of one directory: its set-up and 46 compile units. A run of `compile_units` units is as many
such builds as are needed, each with the recorded set-up and with units drawn from the recorded ones with replacement;
the builds share one job server, as the directories of a kernel tree do. Two replicates differ in what was drawn only.

Sources: number of jobs: the kernbench script (half load: cpus / 2, and 3 instead of 2; optimal: 4 * cpus; maximal:
`make -j`).
Size of a run: a whole tinyconfig vmlinux of the recorded tree took 11,238 clones and 7.34 million user page faults.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from engine.operations import Operations
from engine.vocabulary import Operation
from engine.workloads.templates import LINE_REGISTER, Step, Templates, read_templates

if TYPE_CHECKING:
    from engine.core.scheduler.state import State

TEMPLATE_FILE: Final = Path(__file__).parent / "data" / "kernbench-templates.npz"
LOADS: Final = ("half", "optimal", "max")
UNLIMITED_JOBS: Final = 1 << 30
CHUNK_OPERATIONS: Final = 1 << 20
CLONE_VM: Final = 0x100
_DRAW_KEY: Final = (0,)
"""Keeps the draw independent of whatever else uses the seed."""
SCHED_CPUS_MAX: Final = 8
"""CFS scales its constants with 1 + log2 of the CPUs, of 8 at most (Linux 3.0 kernel/sched_fair.c)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernbenchRun:
    """One run, with every choice made."""

    vcpus: int
    compile_units: int
    jobs: int
    seed: int
    vfork_as_fork: bool
    sched_latency_ns: int
    sched_min_granularity_ns: int
    sched_wakeup_granularity_ns: int
    tick_ns: int
    io_wait_ns_max: int


def jobs_for(load: str, *, vcpus: int) -> int:
    """Return the `-j` that kernbench chooses for a load.

    Kernbench skips the half load where it would be less than 2 jobs; here it is one job then.
    """
    if load == "half":
        half = max(1, vcpus // 2)
        return 3 if half == 2 else half
    if load == "optimal":
        return 4 * vcpus
    return UNLIMITED_JOBS


def draw_units(*, recorded: int, wanted: int, seed: int) -> npt.NDArray[np.int64]:
    """Draw compile units of the recording with replacement."""
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=_DRAW_KEY)))
    return generator.integers(0, recorded, size=wanted, dtype=np.int64)


@functools.lru_cache(maxsize=4)
def load_templates(path: Path) -> Templates:
    """Read a template file once per process."""
    return read_templates(path)


def cpu_factor(vcpus: int) -> int:
    """Return the factor by which CFS scales its constants on so many CPUs."""
    return min(vcpus, SCHED_CPUS_MAX).bit_length()


@dataclass(slots=True)
class KernbenchOperations:
    """The layer-1 operations of one run, in chunks."""

    run: KernbenchRun
    templates: Templates = field(default_factory=lambda: load_templates(TEMPLATE_FILE))
    chunk_operations: int = CHUNK_OPERATIONS
    native_ns: int = 0
    """Time of the last operation so far."""

    def chunks(self) -> Iterator[Operations]:
        """Yield operations in time order; a chunk is valid until the next one is asked for."""
        # The core loads here and not on import, so that listing workloads stays cheap.
        from engine.core.scheduler.operations import scheduled

        for operations in scheduled(self._state(), chunk_operations=self.chunk_operations):
            self.native_ns = int(operations["time_ns"][-1])
            yield operations

    def _state(self) -> "State":
        """Return the scheduler's state before the first build starts."""
        from engine.core.scheduler.state import new_state

        run, templates = self.run, self.templates
        builds = -(-run.compile_units // templates.units)
        factor = cpu_factor(run.vcpus)
        return new_state(
            templates,
            vcpus=run.vcpus,
            slots=slots_needed(templates, jobs=min(run.jobs, run.compile_units), builds=builds),
            jobs=run.jobs,
            unit_of=draw_units(recorded=templates.units, wanted=run.compile_units, seed=run.seed),
            builds=builds,
            lines_step=lines_step(templates),
            tunables={
                "latency_ns": run.sched_latency_ns * factor,
                "min_granularity_ns": run.sched_min_granularity_ns * factor,
                "wakeup_granularity_ns": run.sched_wakeup_granularity_ns * factor,
                "tick_ns": run.tick_ns,
                "sleep_max_ns": run.io_wait_ns_max,
                "vfork_flags": CLONE_VM if run.vfork_as_fork else 0,
            },
        )


def lines_step(templates: Templates) -> int:
    """Return the step at which the build's make starts recipe lines."""
    start, end = templates.template_start[templates.build_make : templates.build_make + 2]
    return int(start + np.flatnonzero(templates.steps["kind"][start:end] == Step.LINES)[0])


def slots_needed(templates: Templates, *, jobs: int, builds: int) -> int:
    """Return an upper bound of the processes that exist at once."""
    steps, starts = templates.steps, templates.template_start
    count = len(starts) - 1
    sizes = np.ones(count, np.int64)
    # Children are created after their parents, so that going backwards meets children first.
    for template in range(count - 1, -1, -1):
        own = steps[starts[template] : starts[template + 1]]
        clones = own[own["kind"] == Operation.CLONE]
        sizes[template] += sizes[clones["length"].astype(np.int64)].sum()
    segments = steps[templates.segment_start[0] :]
    lines = segments[(segments["kind"] == Operation.CLONE) & (segments["address"] == LINE_REGISTER)]
    others = segments[(segments["kind"] == Operation.CLONE) & (segments["address"] != LINE_REGISTER)]
    widest = sizes[lines["length"].astype(np.int64)].max()
    beside = sizes[others["length"].astype(np.int64)].sum()
    return int(jobs * widest + min(jobs, builds) * (sizes[templates.root] + beside))


def run_from(parameters: dict[str, Any], *, vcpus: int, seed: int) -> KernbenchRun:
    """Turn the workload's parameters into one run."""
    return KernbenchRun(
        vcpus=vcpus,
        compile_units=max(1, round(int(parameters["compile_units"]) * float(parameters["scale"]))),
        jobs=int(parameters["jobs"]) or jobs_for(parameters["load"], vcpus=vcpus),
        seed=seed,
        vfork_as_fork=bool(parameters["vfork_as_fork"]),
        sched_latency_ns=int(parameters["sched_latency_ns"]),
        sched_min_granularity_ns=int(parameters["sched_min_granularity_ns"]),
        sched_wakeup_granularity_ns=int(parameters["sched_wakeup_granularity_ns"]),
        tick_ns=int(parameters["tick_ns"]),
        io_wait_ns_max=int(parameters["io_wait_ns_max"]),
    )
