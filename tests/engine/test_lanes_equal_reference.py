"""A lane counts what the reference counts, whatever the policy, the trace, its company and the cut of the trace."""

import os
from collections.abc import Sequence
from unittest import mock

import numpy as np
import numpy.typing as npt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.core.machine import LaneMachine
from engine.events import Events
from engine.guests import Guest
from engine.knobs import Policy
from engine.reference.machine import ReferenceMmu
from engine.vocabulary import COUNTER_INDEX, COUNTER_NAMES, LANES_MAX, Event
from tests.support.engine.traces import TinyRun, policies, runs
from tests.support.engine.words import only_word
from tests.support.policies import POLICIES

SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example)
EXAMPLES = int(os.environ.get("SHADOWSWEEP_EXAMPLES", "1000"))
"""Generated traces that are compared with the reference; fewer where each takes longer, as under sanitizers."""
MANY = 8 * LANES_MAX
REFERENCES = 4
"""Lanes of each example that are compared with the reference."""


def lanes_of(chosen: Sequence[Policy], guest: Guest, *chunks: Events) -> LaneMachine:
    """Return a machine that was fed with a trace in chunks."""
    machine = LaneMachine(chosen, guest)
    for chunk in chunks:
        machine.feed(chunk)
    return machine


def differences(
    found: npt.NDArray[np.int64], expected: npt.NDArray[np.int64], policy: Policy, run: TinyRun
) -> dict[str, object]:
    """Return the counters that differ, with all that is needed to repeat it; empty if none does."""
    wrong = {n: (int(a), int(b)) for n, a, b in zip(COUNTER_NAMES, found, expected, strict=True) if a != b}
    return {"lane, reference": wrong, "policy": policy, "guest": run.guest, "events": run.tuples} if wrong else {}


@settings(max_examples=EXAMPLES, suppress_health_check=SLOW)
@given(run=runs(), chosen=policies(), first=st.integers(0, LANES_MAX))
def test_lanes_equal_the_reference(run: TinyRun, chosen: tuple[Policy, ...], first: int) -> None:
    """Every counter of a lane, at each window, of each activity and in all, is what the reference counts."""
    machine = lanes_of(chosen, run.guest, run.events)
    counters = machine.counters()

    for lane in {(first + k * len(chosen) // REFERENCES) % len(chosen) for k in range(REFERENCES)}:
        reference = ReferenceMmu(chosen[lane], run.guest)
        reference.feed(run.events)
        assert differences(counters[lane], reference.counters(), chosen[lane], run) == {}
        assert np.array_equal(machine.activities()[:, lane], reference.activities())
        windows = [[window[name] for name in COUNTER_NAMES] for window in reference.windows]
        assert [window[lane].tolist() for window in machine.windows] == windows


@settings(max_examples=300, suppress_health_check=SLOW)
@given(run=runs(), chosen=policies(count=LANES_MAX - len(POLICIES)), lane=st.integers(0, LANES_MAX - 1))
def test_company_changes_nothing(run: TinyRun, chosen: tuple[Policy, ...], lane: int) -> None:
    """A lane alone counts what it counts among 64."""
    among = lanes_of(chosen, run.guest, run.events).counters()[lane]
    alone = lanes_of(chosen[lane : lane + 1], run.guest, run.events).counters()[0]

    assert differences(among, alone, chosen[lane], run) == {}


@settings(max_examples=30, suppress_health_check=SLOW)
@given(
    run=runs(),
    chosen=policies(count=LANES_MAX - len(POLICIES)),
    lane=st.integers(0, MANY - 1),
    block=st.integers(1, 40),
)
def test_more_lanes_than_a_word_has_change_nothing(
    run: TinyRun, chosen: tuple[Policy, ...], lane: int, block: int
) -> None:
    """A lane alone counts what it counts among 512, however long the blocks are that machines take turns at."""
    many = [chosen[(place + place // LANES_MAX) % LANES_MAX] for place in range(MANY)]
    with mock.patch("engine.core.machine.EVENTS_PER_BLOCK", block), only_word(0):
        among = lanes_of(many, run.guest, run.events)
    alone = lanes_of([many[lane]], run.guest, run.events)

    assert differences(among.counters()[lane], alone.counters()[0], many[lane], run) == {}
    assert np.array_equal(among.activities()[:, lane], alone.activities()[:, 0])
    assert [window[lane].tolist() for window in among.windows] == [window[0].tolist() for window in alone.windows]


@settings(max_examples=300, suppress_health_check=SLOW)
@given(run=runs(), chosen=policies(count=8), order=st.permutations(range(len(POLICIES) + 8)))
def test_order_changes_nothing(run: TinyRun, chosen: tuple[Policy, ...], order: list[int]) -> None:
    """Lanes in another order count the same, in that order."""
    counters = lanes_of(chosen, run.guest, run.events).counters()
    permuted = lanes_of([chosen[lane] for lane in order], run.guest, run.events).counters()

    assert np.array_equal(permuted, counters[order])


@settings(max_examples=300, suppress_health_check=SLOW)
@given(run=runs(), chosen=policies(count=8), places=st.lists(st.integers(0, 1000), min_size=1, max_size=5))
def test_cuts_change_nothing(run: TinyRun, chosen: tuple[Policy, ...], places: list[int]) -> None:
    """A trace in chunks of any length, empty ones too, counts what it counts in one piece."""
    whole = lanes_of(chosen, run.guest, run.events)
    parts = lanes_of(chosen, run.guest, *np.split(run.events, sorted(place % len(run.events) for place in places)))

    assert np.array_equal(parts.counters(), whole.counters())
    assert len(parts.windows) == len(whole.windows)
    assert all(np.array_equal(a, b) for a, b in zip(parts.windows, whole.windows, strict=True))


@settings(max_examples=300, suppress_health_check=SLOW)
@given(run=runs(), chosen=policies(count=8))
def test_counters_add_up(run: TinyRun, chosen: tuple[Policy, ...]) -> None:
    """In every lane the parts of a counter add up to it, and a policy does nothing that its knobs rule out."""
    machine = lanes_of(chosen, run.guest, run.events)
    counters, activities = machine.counters(), machine.activities()
    of = {name: counters[:, i] for name, i in COUNTER_INDEX.items()}
    kinds = run.events["kind"]
    shadow = np.array([policy.knobs.shadow for policy in chosen])
    unsync = np.array([policy.knobs.unsync for policy in chosen])
    idle = {"cr3_loads", "guest_run_ns", "guest_stores", "guest_touches"}

    added = activities.sum(axis=0)
    added[:, COUNTER_INDEX["pages_peak"]] = of["pages_peak"]

    assert np.array_equal(added, counters)
    assert (counters[:, [i for name, i in COUNTER_INDEX.items() if name != "mmu_unsync"]] >= 0).all()
    assert (of["mmu_unsync"] >= 0).all()
    assert (of["guest_touches"] == np.count_nonzero(kinds == Event.TOUCH)).all()
    assert (of["guest_stores"] == run.events["count"][kinds == Event.STORE].sum()).all()
    flushes = np.count_nonzero(kinds == Event.FLUSH_ALL)
    reasons = of["pf_taken"] + of["cr3_loads"] + of["invlpg"] + flushes
    assert np.array_equal(of["exits"][shadow], reasons[shadow])
    assert (of["pf_taken"] >= of["pf_fixed"] + of["pf_emulate"] + of["pf_spurious"] + of["pf_guest"]).all()
    assert (of["mmu_flooded"] == of["flood_zaps"] + of["misaligned_zaps"]).all()
    assert (of["unsync_events"] - of["sync_events"] >= of["mmu_unsync"]).all()
    assert (of["mmu_shadow_zapped"] >= of["mmu_flooded"] + of["retry_zaps"]).all()
    assert (of["prefetch_used"] + of["prefetch_unused"] <= of["sptes_prefetched"]).all()
    assert not of["unsync_events"][~unsync].any()
    assert not of["mmu_cache_miss"][~shadow].any()
    assert not counters[~shadow][:, [i for name, i in COUNTER_INDEX.items() if name not in idle]].any()
