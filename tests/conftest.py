"""What all tests share: where the project is, no time limits inside generated examples, and how workers share them."""

import atexit
import gc
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

settings.register_profile("house", deadline=None, print_blob=True)
settings.load_profile("house")


TOGETHER: Final = {
    "clusters": ("tests/cluster/", "tests/sweep/test_backends.py"),
    "report": ("tests/report/",),
}
"""Tests that one worker takes all of, elsewhere those of a file: they share what is dear to make, or wait for clusters
most of the time, one of which is enough for a small machine while the other workers compute."""
FIRST: Final = "clusters"
"""What takes longest together, and so begins first."""


def scope(nodeid: str) -> str:
    """Return the name of the tests that a test belongs to."""
    file = nodeid.partition("::")[0]
    return next((name for name, starts in TOGETHER.items() if file.startswith(starts)), file)


class FilesTogether(LoadScopeScheduling):
    """Gives a worker all tests of a file, or of files that belong together."""

    def _split_scope(self, nodeid: str) -> str:
        return scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesTogether | None:
    """Return what hands out tests to workers unless `--dist` asks for another way; xdist itself knows files only."""
    return FilesTogether(config, log) if config.getoption("dist") == "load" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests first, by their limits, and before them what takes longest: nothing long comes last."""
    seconds: dict[Path, float] = {}
    for item in items:
        if item.get_closest_marker("slow"):
            limit = item.get_closest_marker("timeout")
            seconds[item.path] = max(seconds.get(item.path, 1.0), limit.args[0] if limit else 1.0)
    items.sort(key=lambda item: (scope(item.nodeid) != FIRST, -seconds.get(item.path, 0.0)))


def pytest_sessionfinish() -> None:
    """Undo what `sweep` does for the end of its own process: here libraries would complain of what is not collected."""
    atexit.unregister(gc.freeze)


@pytest.fixture(scope="session")
def project() -> Path:
    """Return the root of the checkout."""
    return Path(__file__).resolve().parent.parent
