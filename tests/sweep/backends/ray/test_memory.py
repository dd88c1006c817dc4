"""Memory runs out on a node, and Ray ends a worker to save the others."""

from pathlib import Path

import psutil
import pytest

from results.upkeep.diff import diff_runs
from sweep.exit_codes import ExitCode
from tests.support import fakes
from tests.support.cluster.processes import Bench, ended
from tests.support.starting import start as start_here

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("clusters")]

ROOM_BYTES = fakes.HUNGER_BYTES // 2
"""What may be taken beside a hungry batch before Ray ends it: other tests run meanwhile."""


def test_a_worker_ended_for_its_memory_is_tried_with_half_the_lanes(bench: Bench, spec: str) -> None:
    """What Ray's memory monitor ends comes back as halves, down to one lane, with the rows of a calm run."""
    memory = psutil.virtual_memory()
    if memory.available < 2 * fakes.HUNGER_BYTES:
        pytest.skip(f"needs {2 * fakes.HUNGER_BYTES >> 30} GiB of free memory")
    threshold = 1 - (memory.available - ROOM_BYTES) / memory.total
    driver = bench.start(
        "tests.support.cluster.program",
        *("take_all_memory_but_with_one_lane", "run", spec, "--out", str(Path(spec).parent / "run")),
        *("-j", "1", "--backend", "ray", "-s", "replicates=1", "-s", "guests.vcpus=1"),
        RAY_memory_usage_threshold=f"{threshold:.4f}",
        RAY_memory_monitor_refresh_ms="100",
    )
    done = ended(driver)
    start_here(Path(spec), "replicates=1", "guests.vcpus=1", out="calm")

    folder = Path(spec).parent
    assert done.returncode == ExitCode.OK, done.stderr
    assert done.stderr.count("tried again as two batches with half of the policies each") == 3
    assert "OutOfMemory" in done.stderr
    assert diff_runs(folder / "run", folder / "calm").identical
