"""The geometry of paging, as the manual of the processor has it."""

import re
from typing import Final

import pytest

from engine.sources import ENGINE
from engine.x86 import FOUR_LEVEL, PAGE_BYTES, PagingMode

THREE_LEVEL = PagingMode(name="3-level", levels=3, index_bits=9, entry_bytes=8, frame_bits=40)
FIVE_LEVEL = PagingMode(name="5-level", levels=5, index_bits=9, entry_bytes=8, frame_bits=40)
TWO_LEVEL = PagingMode(name="32-bit", levels=2, index_bits=10, entry_bytes=4, frame_bits=20)


@pytest.mark.parametrize(
    ("mode", "address_bits"),
    [(FOUR_LEVEL, 48), (FIVE_LEVEL, 57), (TWO_LEVEL, 32), (THREE_LEVEL, 39)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_indices_and_offset_make_up_the_address(mode: PagingMode, address_bits: int) -> None:
    """An address is the sum of what its indices choose at each level and its offset in the page."""
    address = 0x0155_5ABC_DEF0_1234_567 & ((1 << address_bits) - 1)

    parts = [mode.index_of(address, level) * mode.span_pages(level) * PAGE_BYTES for level in range(1, mode.levels + 1)]

    assert sum(parts) + address % PAGE_BYTES == address


@pytest.mark.parametrize("mode", [FOUR_LEVEL, FIVE_LEVEL, TWO_LEVEL], ids=lambda mode: mode.name)
def test_a_table_fills_a_page(mode: PagingMode) -> None:
    """Entries of any mode fill 4 KiB (SDM volume 3, 4.3 and 4.5)."""
    assert mode.entries * mode.entry_bytes == PAGE_BYTES


OF_ONE_MODE: Final = re.compile(r"<< 9\b|>> 9\b|\b51[12]\b|\b9 \*|\blevel(?:_of\(\w+\))? == 4\b|ROOT_LEVEL = ")
"""How a number of the 4-level mode looks where it is not taken from x86.py."""
OTHER_NUMBERS: Final = ("#define RETOUCHES", "#define TEXT", '"""', "256, 512")
"""Lines with such a number that is none of tables: counts of touches, prose, bits of a mask."""
OF_WORDS: Final = re.compile(r"\b512 lanes|\b64,? or 512\b|LANES == 512\b")
"""How the lanes of a word look, which have nothing to do with entries of a table."""
PLACES: Final = ("core/lanes/*.h", "core/guest/**/*.[ch]", "mechanisms/*/*.[ch]", "mechanisms/*/*.py", "reference/*.py")


def test_levels_and_indices_are_declared_once() -> None:
    """Nothing that walks tables knows a level or a size of tables by heart: other modes need one declaration."""
    lines = [
        f"{path.relative_to(ENGINE)}:{number}: {line.strip()}"
        for pattern in PLACES
        for path in sorted(ENGINE.glob(pattern))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if OF_ONE_MODE.search(OF_WORDS.sub("", line)) and not line.strip().startswith(OTHER_NUMBERS)
    ]

    assert lines == []


def test_an_entry_names_its_frame_whatever_its_flags() -> None:
    """Flags below bit 12 and no-execute in bit 63 are no part of the frame number."""
    assert FOUR_LEVEL.frame_of(1 << 63 | 0x12345 << 12 | 0xFFF) == 0x12345
