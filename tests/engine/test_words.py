"""A policy counts the same in a word of 64 lanes and in one of 512, at any place of either."""

import os
import sys
from collections.abc import Sequence
from typing import Final
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.core.machine import WIDE_FROM, WORDS, LaneMachine, cut
from engine.guests import Guest
from engine.knobs import Policy
from engine.reference.machine import ReferenceMmu
from tests.support.engine.traces import TinyRun, policies, runs
from tests.support.policies import POLICIES

NARROW: Final = WORDS[0].lanes
WIDE: Final = WORDS[-1].lanes
EXAMPLES: Final = int(os.environ.get("SHADOWSWEEP_EXAMPLES", "300"))
"""Generated traces."""
needs_wide = pytest.mark.skipif(len(WORDS) == 1, reason="this CPU has narrow words only")


def fed(chosen: Sequence[Policy], run: TinyRun, *, wide_from: int) -> LaneMachine:
    """Return a machine that was fed with a trace, of wide words from so many policies on."""
    with mock.patch("engine.core.machine.WIDE_FROM", wide_from):
        machine = LaneMachine(chosen, run.guest)
    machine.feed(run.events)
    return machine


@needs_wide
@settings(max_examples=EXAMPLES, suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large))
@given(
    run=runs(),
    chosen=policies(count=NARROW - len(POLICIES)),
    lanes=st.integers(1, WIDE),
    first=st.integers(0, NARROW - 1),
    stride=st.integers(0, NARROW - 1),
)
def test_a_wide_word_counts_what_a_narrow_one_does(
    run: TinyRun, chosen: tuple[Policy, ...], lanes: int, first: int, stride: int
) -> None:
    """However many lanes are used, at any place and in any company, each counts what it counts among 64."""
    order = [(first + place * stride) % len(chosen) for place in range(lanes)]

    narrow = fed(chosen, run, wide_from=sys.maxsize)
    wide = fed([chosen[policy] for policy in order], run, wide_from=1)

    assert np.array_equal(wide.counters(), narrow.counters()[order])
    assert np.array_equal(wide.activities(), narrow.activities()[:, order])
    assert len(wide.windows) == len(narrow.windows)
    assert all(np.array_equal(a, b[order]) for a, b in zip(wide.windows, narrow.windows, strict=True))


@needs_wide
@settings(max_examples=EXAMPLES, suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large))
@given(run=runs(), chosen=policies(), place=st.integers(0, WIDE - 1))
def test_a_wide_word_equals_the_reference(run: TinyRun, chosen: tuple[Policy, ...], place: int) -> None:
    """Every counter of a lane of a wide word that is full is what the reference counts."""
    policy = chosen[place % len(chosen)]
    reference = ReferenceMmu(policy, run.guest)
    reference.feed(run.events)

    wide = fed([chosen[lane % len(chosen)] for lane in range(WIDE)], run, wide_from=1)

    found = dict(enumerate(wide.counters()[place]))
    expected = dict(enumerate(reference.counters()))
    assert {i: (found[i], expected[i]) for i in found if found[i] != expected[i]} == {}, (policy, run.tuples)
    assert np.array_equal(wide.activities()[:, place], reference.activities())


@pytest.mark.parametrize("policies", [1, NARROW, WIDE_FROM - 1, WIDE_FROM, WIDE, WIDE + 1, 3 * WIDE - 1])
def test_words_hold_all_policies_in_order(policies: int) -> None:
    """Any number of policies is cut into words, none left out, none too full, the fewest wide ones first."""
    words = list(cut(policies))

    assert [place for _, start, end in words for place in range(start, end)] == list(range(policies))
    assert all(end - start <= WORDS[word].lanes for word, start, end in words)
    assert words == sorted(words, key=lambda one: -one[0])
    assert (len(words) == 1) == (policies <= NARROW or (WIDE_FROM <= policies <= WIDE and len(WORDS) > 1))


@pytest.mark.parametrize("word", range(len(WORDS)))
def test_a_word_says_how_many_lanes_it_has(word: int) -> None:
    """More lanes than a word has are refused by the core with how many it has."""
    with (
        mock.patch("engine.core.machine.cut", lambda count: [(word, 0, count)]),
        pytest.raises(ValueError, match=f"a word has 1 to {WORDS[word].lanes} policies, found {WORDS[word].lanes + 1}"),
    ):
        LaneMachine([POLICIES["kvm-6.1"]] * (WORDS[word].lanes + 1), Guest(vcpus=1, memory_mib=4))
