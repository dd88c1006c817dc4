"""The note about guests of today on machines of long ago."""

from typing import Any

import pytest

from results.notices.era import era_notes
from results.notices.notices import notices_of
from results.prices.cost_model import CostModel
from results.store.lost import COSTS_FILE
from tests.support.synthetic import make_run, model_mapping, replicate_batches, small_model


def spec(guest: dict[str, Any] | None = None, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the part of a specification that the note looks at."""
    old = {"clear_instruction": "stosq", "write_protect_instruction": "lock_and"}
    return {"guests": [old | (guest or {})], "workloads": [{"label": "w", "parameters": parameters or {}}]}


@pytest.mark.parametrize(
    ("guest", "parameters", "sign"),
    [
        ({"clear_instruction": "stosb"}, {}, "clear_instruction stosb"),
        ({"write_protect_instruction": "cmpxchg"}, {}, "write_protect_instruction cmpxchg"),
        ({}, {"init_on_alloc": 1}, "init_on_alloc 1"),
    ],
)
def test_a_guest_of_today_on_a_machine_of_2011_is_named(
    guest: dict[str, Any], parameters: dict[str, Any], sign: str
) -> None:
    """The note says what is of today, which machine prices it, and what to do."""
    (note,) = era_notes(spec(guest, parameters), small_model(year=2011))

    assert f"guests of today ({sign}) are priced on a machine of 2011 (small)" in note
    assert "--costs epyc-2020s" in note


@pytest.mark.parametrize("model", [small_model(year=2019), small_model(), None], ids=["2019", "no year", "no model"])
def test_other_machines_need_no_note(model: CostModel | None) -> None:
    """A machine of its time, or one that says no year, is no reason for a note."""
    assert era_notes(spec({"clear_instruction": "stosb"}), model) == []


def test_a_guest_of_2011_needs_no_note() -> None:
    """A guest of that time on a machine of that time is what the model is for."""
    assert era_notes(spec({}, {"init_on_alloc": 0}), small_model(year=2011)) == []


def test_the_note_comes_with_every_answer(tmp_path: Any) -> None:
    """The note is among those of the run: from its own prices, or from those that are asked for instead."""
    import json

    store = make_run(tmp_path / "run", replicate_batches(1))
    today = store.spec() | spec({"clear_instruction": "stosb"})
    store.storage.put("spec.json", json.dumps(today).encode())
    store.storage.put(COSTS_FILE, json.dumps(model_mapping(year=2011)).encode())

    assert any("machine of 2011" in note for note in notices_of([store]).notes)
    assert notices_of([store], costs=small_model(year=2020)).notes == ()
