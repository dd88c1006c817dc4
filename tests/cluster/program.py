"""The command line with an engine of tests/sweep/fakes.py, so that faults come when a test wants them.

python -m tests.cluster.program FAKE run spec.yaml --out run
"""

import sys

import pytest

from tests.sweep import fakes


def put_in_place(fake: str, patch: pytest.MonkeyPatch) -> None:
    """Put a fake in the engine's place, in this process only: workers find their functions by name."""
    # These hold the real engine under its name, so that what depends on it, such as compiling, stays away from fakes.
    import sweep.batch_memory
    import sweep.execute  # noqa: F401

    patch.setattr("engine.workloads.WORKLOADS", fakes.WORKLOADS)
    patch.setattr("sweep.cell.engine_fingerprint", lambda: "a fake engine")
    patch.setattr("sweep.worker.simulate_batch", getattr(fakes, fake))


if __name__ == "__main__":
    from sweep import cli

    put_in_place(sys.argv.pop(1), pytest.MonkeyPatch())
    cli.main()
