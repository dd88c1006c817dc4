"""The command line with an engine of tests/sweep/fakes.py, so that faults come when a test wants them.

    python -m tests.cluster.program FAKE run spec.yaml --out run
"""

import sys

from tests.sweep import fakes


def main() -> None:
    """Put the fake in the engine's place, in this process only, and run the verb."""
    import engine.workloads
    import sweep.cell
    import sweep.execute
    import sweep.worker
    from sweep import cli

    assert sweep.execute  # It has the real engine by name: what depends on it, such as compiling, stays away from fakes.
    engine.workloads.WORKLOADS = fakes.WORKLOADS
    sweep.cell.engine_fingerprint = lambda: "a fake engine"
    sweep.worker.simulate_batch = getattr(fakes, sys.argv.pop(1))
    cli.main()


if __name__ == "__main__":
    main()
