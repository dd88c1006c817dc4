"""The command line with an engine of tests/support/fakes.py, so that faults come when a test wants them.

python -m tests.support.cluster.program FAKE run spec.yaml --out run
"""

import importlib
import sys
from collections.abc import Callable

from tests.support import fakes


def put_in_place(fake: str, put: Callable[[str, object], None]) -> None:
    """Put a fake in the engine's place, in this process only: workers find their functions by name."""
    # These hold the real engine under its name, so that what depends on it, such as compiling, stays away from fakes.
    import sweep.start.execute
    import sweep.tasks.memory  # noqa: F401

    put("engine.workloads.WORKLOADS", fakes.WORKLOADS)
    put("sweep.plan.cell.engine_fingerprint", lambda: "a fake engine")
    put("sweep.tasks.worker.simulate_batch", getattr(fakes, fake))


def put_for_good(target: str, value: object) -> None:
    """Set an attribute of a module; to load what pytest has for it would take as long as a small sweep."""
    module, _, name = target.rpartition(".")
    setattr(importlib.import_module(module), name, value)


if __name__ == "__main__":
    from sweep import cli

    put_in_place(sys.argv.pop(1), put_for_good)
    cli.main()
