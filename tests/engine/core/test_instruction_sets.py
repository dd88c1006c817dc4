"""The lane machine is compiled for several instruction sets and words; all of them count the same."""

import os
import subprocess
import sys
from typing import Final

import pytest

from engine.core.machine import WORDS
from tests.support.project import ROOT

NAMES: Final = {"2": "lanes_baseline", "3": "lanes_x86_64_v3", "4": "lanes_x86_64_v4_512"}
PROGRAM: Final = """
from hashlib import blake2b
from engine.core.machine import WORDS
from engine.guests import Guest
from engine.simulate import Batch, run_batch
from engine.workloads import WORKLOADS
from tests.support.policies import POLICIES

drawn = {"rounds": 30, "pages": 300, "child_writes": 20}
guest = Guest(vcpus=1, memory_mib=256)
parameters = {name: field.default for name, field in WORKLOADS["fork"].parameters.items()} | drawn
policies = tuple(POLICIES.values()) * 40
counts = run_batch(Batch(workload="fork", parameters=parameters, guest=guest, policies=policies, seed=1))
print(WORDS[-1].instruction_set, blake2b(counts.activities.tobytes() + counts.windows.tobytes()).hexdigest())
"""


def counted(level: str) -> tuple[str, str]:
    """Return the instruction set that a process was given which may use this level, and a digest of what it counted."""
    environment = os.environ | {"SHADOWSWEEP_LEVEL": level, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM]
    said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    name, digest = said.split()
    return name, digest


@pytest.mark.skipif(WORDS[-1].instruction_set == NAMES["2"], reason="this CPU has the baseline only")
def test_every_instruction_set_counts_the_same() -> None:
    """A process that may use less of the CPU does so, and gets the same counts, of hundreds of policies."""
    best = max(level for level, name in NAMES.items() if name <= WORDS[-1].instruction_set)
    found = {level: counted(level) for level in NAMES if level <= best}

    assert {level: name for level, (name, _) in found.items()} == {level: NAMES[level] for level in found}
    assert len({digest for _, digest in found.values()}) == 1
