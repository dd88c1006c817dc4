"""What all tests share: where the project is, no time limits inside generated examples, and how workers share them."""

from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.project import ROOT

settings.register_profile("house", deadline=None, print_blob=True)
settings.load_profile("house")


@pytest.hookimpl(tryfirst=True)  # Before pytest-xdist, which reads the groups in the same hook.
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file on one worker, for `--dist loadgroup`: what is dear to make is made once.

    Tests that start Ray clusters name the group "clusters" themselves: two that start at the same time may, on a small
    machine, take longer than Ray waits for its own processes.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


@pytest.fixture(scope="session")
def project() -> Path:
    """Return the root of the checkout."""
    return ROOT
