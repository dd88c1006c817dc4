"""A Ray head for the tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.support.cluster.head import Head, open_head


@pytest.fixture(scope="session")
def head() -> Iterator[Head]:
    """Give a Ray head that all tests of this folder share."""
    with open_head() as opened:
        yield opened
