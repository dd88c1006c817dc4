"""Numbers in sentences."""

import pytest

from results.wording import counted


@pytest.mark.parametrize(
    ("count", "nouns", "words"),
    [
        (1, ("cell",), "1 cell"),
        (0, ("cell",), "0 cells"),
        (2_000, ("batch", "batches"), "2,000 batches"),
        (1, ("cell is", "cells are"), "1 cell is"),
    ],
)
def test_a_noun_agrees_with_its_number(count: int, nouns: tuple[str, ...], words: str) -> None:
    """One of a thing is singular, all other numbers plural; thousands are set apart."""
    assert counted(count, *nouns) == words
