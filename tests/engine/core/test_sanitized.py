"""The core under sanitizers, with the slow path beside each fast one: no write goes astray, no fast path differs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.engine.core_builds import build, copied

EXAMPLES: Final = 200
"""Generated traces."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600), pytest.mark.xdist_group("sanitized")]


def sanitizer() -> str | None:
    """Return the library that a process preloads so that it can load code built with sanitizers."""
    compiler = shutil.which("gcc")
    if compiler is None:
        return None
    command = [compiler, "-print-file-name=libasan.so"]
    named = Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    return str(named) if named.is_absolute() else None


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project whose core is built with sanitizers and with checks of its fast paths."""
    if sanitizer() is None:
        pytest.skip("no gcc with libasan here")
    checkout = copied(tmp_path_factory.mktemp("sanitized") / "checkout")
    build(checkout, SHADOWSWEEP_SANITIZE="1", SHADOWSWEEP_CHECK="1")
    return checkout


def run_tests(checkout: Path, *names: str) -> str:
    """Run tests of a checkout under the sanitizers; return what they say."""
    environment = os.environ | {
        "LD_PRELOAD": str(sanitizer()),
        "ASAN_OPTIONS": "detect_leaks=0,abort_on_error=1",
        "UBSAN_OPTIONS": "print_stacktrace=1,halt_on_error=1",
        "PYTHONPATH": str(checkout),
        "SHADOWSWEEP_EXAMPLES": str(EXAMPLES),
    }
    environment.pop("PYTEST_ADDOPTS", None)
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *names]
    ended = subprocess.run(
        [*command, "--timeout=3000"], cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    text = f"{ended.stdout[-4000:]}{ended.stderr[-4000:]}"
    assert ended.returncode == 0, text
    return text


def test_lanes_under_sanitizers(sanitized: Path) -> None:
    """Over generated traces and any number in any field, lanes are the reference, without a stray access."""
    text = run_tests(
        sanitized,
        "tests/engine/test_lanes_equal_reference.py::test_lanes_equal_the_reference",
        "tests/engine/test_words.py",
        "tests/engine/test_checks.py",
    )

    assert "passed" in text


def test_guest_and_scheduler_under_sanitizers(sanitized: Path) -> None:
    """Anything that looks like operations goes through the guest model without a stray access, and builds do."""
    text = run_tests(
        sanitized,
        "tests/engine/guest/test_bounds.py::test_any_operations_give_the_same_events_for_every_buffer",
        "tests/engine/guest/test_bounds.py::test_no_page_is_lost_where_areas_are_full",
        "tests/engine/workloads/test_kernbench.py::test_equal_runs_are_equal_bytes",
    )

    assert "passed" in text


FAST_PATH: Final = "faults |= m->knobs.shadow & ~way->leaf->writable;"
"""What a fast touch finds out about a write; without it a write to a protected page would change nothing."""
FEED: Final = """
import numpy as np
from engine.core.machine import LaneMachine
from engine.guests import Guest
from engine.workloads import WORKLOADS
from tests.support.policies import POLICIES
guest = Guest(vcpus=2, memory_mib=512)
machine = LaneMachine(list(POLICIES.values()) * {times}, guest)
for events in WORKLOADS["kernbench"].open({"compile_units": 1}, guest, 1, 10**9).chunks():
    machine.feed(np.array(events))
"""


def test_checked_builds_stop_at_a_fast_path_that_is_wrong(tmp_path: Path) -> None:
    """A fast path that forgets one condition is found by the slow path beside it, in either word."""
    checkout = copied(tmp_path / "checkout")
    quick = checkout / "engine" / "core" / "lanes" / "quick.h"
    text = quick.read_text(encoding="utf-8")
    assert text.count(FAST_PATH) == 1
    quick.write_text(text.replace(FAST_PATH, "faults |= 0;"), encoding="utf-8")
    build(checkout, SHADOWSWEEP_CHECK="1")

    environment = os.environ | {"PYTHONPATH": str(checkout)}
    for times in ("1", "40"):
        program = FEED.replace("{times}", times)
        command = [sys.executable, "-c", program]
        ended = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)

        assert "a fast path differs from the slow one" in ended.stderr, ended.stderr[-2000:]
