"""The lane machine is compiled for several instruction sets and words; all of them count the same."""

from typing import Final

import pytest

from engine.core.machine import WORDS
from tests.support.engine.core_builds import counted
from tests.support.project import ROOT

BASELINE: Final = "lanes_baseline"
NAMES: Final = {
    "2": [BASELINE],
    "3": ["lanes_x86_64_v3_16", BASELINE],
    "4": ["lanes_x86_64_v3_16", "lanes_x86_64_v4", "lanes_x86_64_v4_512"],
}
"""Level of the instruction set -> the words that a process has which may use this level."""


HERE: Final = [word.instruction_set for word in WORDS]


@pytest.mark.skipif(HERE == NAMES["2"], reason="this CPU has the baseline only")
def test_every_instruction_set_counts_the_same() -> None:
    """A process that may use less of the CPU does so, and gets the same counts, of hundreds of policies."""
    best = max(level for level, names in NAMES.items() if names == HERE)
    found = {level: counted(ROOT, SHADOWSWEEP_LEVEL=level) for level in NAMES if level <= best}

    assert [words.split(",") for words, _, _ in found.values()] == [NAMES[level] for level in found]
    assert len({digest for *_, digest in found.values()}) == 1
