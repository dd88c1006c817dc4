"""What an event costs in instructions: a change of the core that makes it dearer is seen, whatever the machine does."""

import json
import shutil
from typing import Final

import pytest

from tests.support.engine.instructions import PARTS, STORED, count

DEARER_MAX: Final = 1.15
"""What costs more has to say why, and to store the new count: python -m tests.support.engine.instructions --write."""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("valgrind") is None, reason="no valgrind here"),
]


@pytest.mark.parametrize("part", PARTS)
def test_an_event_costs_no_more_instructions_than_before(part: str) -> None:
    """Over one small trace under all policies a part of the core takes at most 15 % more than what is stored."""
    stored = json.loads(STORED.read_text(encoding="utf-8"))

    built, counted = count(part)

    if built not in stored:
        pytest.skip(f"no count is stored for {built}")
    assert counted <= DEARER_MAX * stored[built][part]
