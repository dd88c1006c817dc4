"""What the tests of this folder share: a bench that is clean in the end, and specifications."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster.processes import Bench, open_bench, wait_until
from tests.support.starting import write_spec


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Give a bench; a test that has passed has left no process and no temporary file on it."""
    with open_bench() as opened:
        yield opened
        wait_until(lambda: not opened.alive())
        assert opened.left_files() == []


@pytest.fixture
def spec(tmp_path: Path) -> str:
    """Write the small sweep: two guests, two replicates, four policies; return its path."""
    return str(write_spec(tmp_path))
