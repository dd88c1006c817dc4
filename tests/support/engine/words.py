"""Machines that are made of words of one kind."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from engine.core.machine import WORDS


@contextmanager
def only_word(word: int) -> Iterator[None]:
    """Have machines that are made in this context consist of WORDS[word] only, however many policies they get."""
    lanes = WORDS[word].lanes

    def cut(policies: int) -> Iterator[tuple[int, int, int]]:
        for start in range(0, policies, lanes):
            yield word, start, min(start + lanes, policies)

    with mock.patch("engine.core.machine.cut", cut):
        yield
