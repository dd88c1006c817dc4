"""Starts sweeps with a fake engine: inside a test, or as a program of its own that a test can interrupt."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from sweep.backends.choose import BackendChoice, BackendName
from sweep.exit_codes import ExitCode
from sweep.spec.read import load_spec
from sweep.spec.spec import SweepSpec
from sweep.start.driver import Rules
from sweep.start.execute import Execution, execute
from sweep.tasks.task import Simulate
from tests.support import fakes

SPEC = """
name: small
workloads: [{{name: kernbench, marker: "{marker}"}}]
policies: [kvm-3.0, kvm-3.3, xiao-v1, tdp]
guests: {{vcpus: [1, 2]}}
replicates: 2
baseline: kvm-3.0
costs: {costs}
"""


def write_spec(folder: Path) -> Path:
    """Write a small specification and return its path."""
    path = folder / "small.yaml"
    costs = Path(__file__).resolve().parent / "costs.yaml"
    path.write_text(SPEC.format(marker=folder / "marker", costs=costs), encoding="utf-8")
    return path


def read(path: Path, *overrides: str) -> SweepSpec:
    """Return the small sweep with overrides."""
    return load_spec(path, overrides, workloads=fakes.WORKLOADS)


def start(
    path: Path,
    *overrides: str,
    simulate: Simulate = fakes.simulate,
    backend: BackendName = BackendName.LOCAL,
    address: str | None = None,
    out: str = "run",
    rules: Rules | None = None,
    workers: int = 1,
    fingerprint: str = "a fake engine",
) -> ExitCode:
    """Run the small sweep into a folder beside it and return the exit code.

    One worker of its own unless the test is about several: each takes a second to start.
    """
    execution = Execution(
        spec=read(path, *overrides),
        run=str(path.parent / out),
        backend=BackendChoice(
            name=backend, reason="a test", address=address, workers=None if address is not None else workers
        ),
        simulate=simulate,
        fingerprint=fingerprint,
        command=f"sweep run {path}",
        rules=rules or Rules(),
    )
    return execute(execution)


def swallow_the_end(*_: object) -> NoReturn:
    """Be told to end, and raise something else instead, as compiled code does; a script may have Ctrl-C ignored."""
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    except KeyboardInterrupt:
        raise ValueError("a callback failed") from None
    raise AssertionError("no signal came")


if __name__ == "__main__":
    sys.exit(start(Path(sys.argv[1]), simulate=getattr(fakes, sys.argv[2])))
