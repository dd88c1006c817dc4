"""Builds of the core beside that of the checkout: a copy of the project, how to build it, and what it counts."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.support.project import ROOT

BUILD_SECONDS: Final = 900
PROGRAM: Final = """
from hashlib import blake2b
from engine.core.extension import core
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
digest = blake2b(counts.activities.tobytes() + counts.windows.tobytes()).hexdigest()
print(",".join(word.instruction_set for word in WORDS), core.COMPILER.split()[0], digest)
"""


def copied(checkout: Path) -> Path:
    """Copy what the core is built from and what tests it, without what was built."""
    ignored = shutil.ignore_patterns("__pycache__", "*.so", ".*", "build", "runs", "*.parquet", "node_modules")
    for folder in ("engine", "results", "sweep", "configs", "tests"):
        shutil.copytree(ROOT / folder, checkout / folder, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, checkout / name)
    return checkout


def build(checkout: Path, **variables: str) -> None:
    """Build the core of a copy with some variables of setup.py."""
    environment = os.environ | {"PYTHONPATH": str(checkout)} | variables
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    subprocess.run(command, cwd=checkout, env=environment, check=True, timeout=BUILD_SECONDS)


def counted(checkout: Path, **variables: str) -> tuple[str, str, str]:
    """Return what a process with some variables has: words, compiler, and a digest of what it counts."""
    environment = os.environ | {"PYTHONPATH": str(checkout)} | variables
    command = [sys.executable, "-c", PROGRAM]
    said = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=True).stdout
    name, compiler, digest = said.split()
    return name, compiler, digest
