"""Compares a recorded kernel build, replayed as it is, with the generator's build of the same processes.

    python benchmarks/compare_recorded.py RECORDING [--templates FILE]

RECORDING is text of perf or an imported trace of a build with `make -j2` on 2 CPUs; the templates must have been
derived from it (default: those of the workload kernbench, which come from kernbench-mm.perf.txt.zst). The generator
builds each recorded unit once, so both have the same processes; they differ in when which process runs. Prints
emulations and zaps under three policies, and their differences.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.core.machine import LaneMachine
from engine.guests import Guest
from engine.operations import Operations
from engine.vocabulary import COUNTER_INDEX
from engine.workloads import kernbench_run
from engine.workloads.kernbench import OWN_PARAMETERS
from engine.workloads.kernbench_run import TEMPLATE_FILE, KernbenchOperations, run_from
from engine.workloads.piped import GUEST_PARAMETERS, open_piped, with_defaults
from engine.workloads.templates import read_templates
from sweep.recordings.importing import read_recording
from sweep.spec.policies import shipped_policies

NAMES: Final = ("kvm-3.0", "kvm-3.3", "kvm-6.1")
COUNTERS: Final = ("insn_emulation", "mmu_shadow_zapped", "sptes_zapped", "exits")
GUEST: Final = Guest(vcpus=2, memory_mib=1024)
CHUNK_OPERATIONS: Final = 1 << 20
WINDOW_NS: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class Held:
    """Operations that are in memory."""

    operations: Operations

    def chunks(self) -> Iterator[Operations]:
        """Yield them piece by piece."""
        for start in range(0, len(self.operations), CHUNK_OPERATIONS):
            yield self.operations[start : start + CHUNK_OPERATIONS]


def replay(source: Any) -> Any:
    """Return counts[policy, counter] of a source of operations."""
    machine = LaneMachine([shipped_policies()[name] for name in NAMES], GUEST)
    parameters = with_defaults(GUEST_PARAMETERS, {})
    for events in open_piped(source, parameters=parameters, guest=GUEST, seed=1, window_ns=WINDOW_NS).chunks():
        machine.feed(events)
    return machine.counters()


def main(recording: Path, template_file: Path) -> None:
    """Print a line for each policy and counter."""
    templates = read_templates(template_file)
    kernbench_run.draw_units = lambda **given: np.arange(given["wanted"])  # type: ignore[assignment]
    own = {name: parameter.default for name, parameter in OWN_PARAMETERS.items()}
    run = run_from(
        own | {"compile_units": templates.units, "jobs": 2, "vfork_as_fork": False}, vcpus=GUEST.vcpus, seed=1
    )
    recorded = replay(Held(read_recording(recording)[0]))
    generated = replay(KernbenchOperations(run=run, templates=templates))
    print(f"{'policy':10} {'counter':20} {'recorded':>12} {'generated':>12} {'difference':>10}")
    for lane, name in enumerate(NAMES):
        for counter in COUNTERS:
            before, after = (int(counts[lane, COUNTER_INDEX[counter]]) for counts in (recorded, generated))
            print(f"{name:10} {counter:20} {before:>12,} {after:>12,} {after / before - 1:>+10.2%}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", metavar="RECORDING", type=Path)
    parser.add_argument("--templates", type=Path, default=TEMPLATE_FILE, help="default: those of kernbench")
    chosen = parser.parse_args()
    main(chosen.recording, chosen.templates)
