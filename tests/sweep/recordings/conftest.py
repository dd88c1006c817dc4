"""What the tests of traces share: the head of the real recording, as it is stored and as text."""

from pathlib import Path

import pytest
import zstandard


@pytest.fixture(scope="session")
def recording(project: Path) -> Path:
    """Return the first 16,000 lines of the recording of a kernel build."""
    return project / "tests" / "data" / "perf" / "kernbench-mm-head.perf.txt.zst"


@pytest.fixture(scope="session")
def recorded_text(recording: Path) -> str:
    """Return the text of the recording."""
    return zstandard.ZstdDecompressor().decompress(recording.read_bytes()).decode()
