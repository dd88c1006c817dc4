"""A policy counts the same in a word of 16 lanes, of 64 and of 512, at any place of each."""

import os
from collections.abc import Sequence
from typing import Final
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.core.machine import TAKEN_FROM, WORDS, LaneMachine, cut
from engine.guests import Guest
from engine.knobs import Policy
from engine.reference.machine import ReferenceMmu
from tests.support.engine.traces import TinyRun, policies, runs
from tests.support.engine.words import only_word
from tests.support.policies import POLICIES

WIDEST: Final = WORDS[-1].lanes
DIFFERENT: Final = 64
"""Policies of a generated run."""
EXAMPLES: Final = int(os.environ.get("SHADOWSWEEP_EXAMPLES", "300"))
"""Generated traces."""
SLOW: Final = (HealthCheck.too_slow, HealthCheck.data_too_large)


def fed(chosen: Sequence[Policy], run: TinyRun, word: int) -> LaneMachine:
    """Return a machine of words of one kind that was fed with a trace."""
    with only_word(word):
        machine = LaneMachine(chosen, run.guest)
    machine.feed(run.events)
    return machine


@pytest.mark.skipif(len(WORDS) == 1, reason="this CPU has one kind of word")
@settings(max_examples=EXAMPLES, suppress_health_check=SLOW)
@given(
    run=runs(),
    chosen=policies(count=DIFFERENT - len(POLICIES)),
    word=st.integers(1, max(1, len(WORDS) - 1)),
    lanes=st.integers(1, WIDEST),
    first=st.integers(0, DIFFERENT - 1),
    stride=st.integers(0, DIFFERENT - 1),
)
def test_a_wider_word_counts_what_the_narrowest_does(
    run: TinyRun, chosen: tuple[Policy, ...], word: int, lanes: int, first: int, stride: int
) -> None:
    """However many lanes are used, at any place and in any company, each counts what it counts in a narrow word."""
    order = [(first + place * stride) % len(chosen) for place in range(lanes)]

    narrow = fed(chosen, run, 0)
    wide = fed([chosen[policy] for policy in order], run, word)

    assert np.array_equal(wide.counters(), narrow.counters()[order])
    assert np.array_equal(wide.activities(), narrow.activities()[:, order])
    assert len(wide.windows) == len(narrow.windows)
    assert all(np.array_equal(a, b[order]) for a, b in zip(wide.windows, narrow.windows, strict=True))


@settings(max_examples=EXAMPLES, suppress_health_check=SLOW)
@given(run=runs(), chosen=policies(), word=st.integers(0, len(WORDS) - 1), place=st.integers(0, WIDEST - 1))
def test_any_word_equals_the_reference(run: TinyRun, chosen: tuple[Policy, ...], word: int, place: int) -> None:
    """Every counter of a lane of a word that is full is what the reference counts."""
    lanes = WORDS[word].lanes
    place %= lanes
    policy = chosen[place % len(chosen)]
    reference = ReferenceMmu(policy, run.guest)
    reference.feed(run.events)

    full = fed([chosen[lane % len(chosen)] for lane in range(lanes)], run, word)

    found = dict(enumerate(full.counters()[place]))
    expected = dict(enumerate(reference.counters()))
    assert {i: (found[i], expected[i]) for i in found if found[i] != expected[i]} == {}, (policy, run.tuples)
    assert np.array_equal(full.activities()[:, place], reference.activities())


@pytest.mark.parametrize("policies", [1, 16, 17, 64, 65, 80, 81, 128, 129, 512, 513, 600, 1600])
def test_words_hold_all_policies_in_order(policies: int) -> None:
    """Any number of policies is cut into words, none left out, none too full, none wider than pays."""
    words = list(cut(policies))

    assert [place for _, start, end in words for place in range(start, end)] == list(range(policies))
    assert all(end - start <= WORDS[word].lanes for word, start, end in words)
    assert all(word == 0 or policies - start >= TAKEN_FROM[WORDS[word].lanes] for word, start, _ in words)
    assert words == sorted(words, key=lambda one: -one[0])


@pytest.mark.parametrize("word", range(len(WORDS)))
def test_a_word_says_how_many_lanes_it_has(word: int) -> None:
    """More lanes than a word has are refused by the core with how many it has."""
    with (
        mock.patch("engine.core.machine.cut", lambda count: [(word, 0, count)]),
        pytest.raises(ValueError, match=f"a word has 1 to {WORDS[word].lanes} policies, found {WORDS[word].lanes + 1}"),
    ):
        LaneMachine([POLICIES["kvm-6.1"]] * (WORDS[word].lanes + 1), Guest(vcpus=1, memory_mib=4))
