"""Pairing of reactions."""

import polars as pl

from sweep.validate.reactions import SCHEMA, engine_reactions
from sweep.validate.rules import align


def table(*rows: tuple[int, str, int]) -> pl.DataFrame:
    """Return reactions from (event, kind, gfn)."""
    return pl.DataFrame([(event, kind, gfn, 1, 0) for event, kind, gfn in rows], schema=SCHEMA, orient="row")


def test_same_reactions_all_pair() -> None:
    """Two equal tables leave nothing over."""
    reactions = table((1, "unsync", 5), (2, "unsync", 5), (3, "sync", 5))

    paired = align(reactions, reactions)

    assert paired.real.all()
    assert paired.ours.all()


def test_a_pair_is_used_once() -> None:
    """One reaction of ours can't stand for two of KVM."""
    paired = align(table((1, "unsync", 5), (2, "unsync", 5)), table((2, "unsync", 5)))

    assert paired.real.tolist() == [True, False]
    assert paired.ours.tolist() == [True]


def test_reactions_far_apart_do_not_pair() -> None:
    """The same reaction at quite another time is a miss and an extra."""
    paired = align(table((1, "unsync", 5)), table((900, "unsync", 5)), apart_max=400)

    assert not paired.real.any()
    assert not paired.ours.any()


def test_other_page_or_kind_does_not_pair() -> None:
    """Only reactions of the same kind on the same page pair, whatever is in between."""
    paired = align(table((1, "unsync", 5), (2, "sync", 6)), table((1, "unsync", 6), (2, "sync", 6)))

    assert paired.real.tolist() == [False, True]
    assert paired.ours.tolist() == [False, True]


def test_end_of_out_of_sync_belongs_to_the_zap() -> None:
    """The engine's report that a zapped page is no longer out of sync is no reaction of its own."""
    log = [(1, "zap_child", 7, 1, 0x701), (1, "sync", 7, 1, 0x701), (2, "sync", 8, 1, 0x701)]

    reactions = engine_reactions(log)

    assert reactions.select("kind", "gfn").rows() == [("child", 7), ("sync", 8)]


def test_outcomes_that_a_recorder_can_not_tell_are_one_kind() -> None:
    """Spurious and retried faults compare as fixed, and direct-map addresses as frames."""
    log = [(0, "fault_spurious", 0xFFFF888000003, 0, 0), (1, "fault_fixed", 0x7FFF1, 0, 0)]

    reactions = engine_reactions(log)

    assert reactions.select("kind", "gfn").rows() == [("fault_fixed", 3), ("fault_fixed", 0x7FFF1)]
