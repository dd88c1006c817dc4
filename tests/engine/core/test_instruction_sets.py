"""The lane machine is compiled for several instruction sets; all of them count the same."""

from typing import Final

import pytest

from engine.core.machine import INSTRUCTION_SET
from tests.support.engine.core_builds import counted
from tests.support.project import ROOT

NAMES: Final = {"2": "lanes_baseline", "3": "lanes_x86_64_v3", "4": "lanes_x86_64_v4"}


@pytest.mark.skipif(INSTRUCTION_SET == NAMES["2"], reason="this CPU has the baseline only")
def test_every_instruction_set_counts_the_same() -> None:
    """A process that may use less of the CPU does so, and gets the same counts."""
    best = max(level for level, name in NAMES.items() if name <= INSTRUCTION_SET)
    found = {level: counted(ROOT, SHADOWSWEEP_LEVEL=level) for level in NAMES if level <= best}

    assert {level: name for level, (name, _, _) in found.items()} == {level: NAMES[level] for level in found}
    assert len({digest for *_, digest in found.values()}) == 1
