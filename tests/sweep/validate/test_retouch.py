"""Pages that a process uses again."""

import numpy as np
import polars as pl

from engine.events import EVENT
from engine.vocabulary import Access, Event
from sweep.recordings.kvm.reading import KvmTruth
from sweep.validate.retouch import Form, fit_retouches, with_retouches

USER = int(Access.USER)


def truth(*rows: tuple[int, int, int, int], markers: dict[str, tuple[int, int]] | None = None) -> KvmTruth:
    """Return a recording from (kind, address, value, access)."""
    events = np.zeros(len(rows), dtype=EVENT)
    for name, values in zip(("kind", "address", "value", "access"), zip(*rows, strict=True), strict=True):
        events[name] = values
    return KvmTruth(events=events, row=np.arange(len(rows)), kvm=pl.DataFrame(), markers=markers or {})


def touch(address: int, access: Access = Access.FETCH) -> tuple[int, int, int, int]:
    """Return a user's access, of code if nothing else is said."""
    return (int(Event.TOUCH), address, 0, int(access) | USER)


def cr3(value: int) -> tuple[int, int, int, int]:
    """Return a load of CR3."""
    return (int(Event.CR3), 0, value, 0)


FAULT = (int(Event.GUEST_FAULT), 0x9000, 0, USER)


def test_latest_pages_come_back_after_a_fault() -> None:
    """After the access that ends a fault, the pages used last are touched again, the latest first."""
    recording = truth(cr3(0x1000), touch(0x5000), touch(0x6008), touch(0x7000), FAULT, touch(0x9000), touch(0xA000))

    events = with_retouches(recording, pages=2, form=Form.USED_AGAIN).events

    assert events["address"].tolist()[5:] == [0x9000, 0x7000, 0x6008, 0xA000]
    assert set(events["access"][[6, 7]].tolist()) == {int(Access.FETCH) | USER}


def test_data_touched_once_does_not_come_back() -> None:
    """A program that walks through memory is not said to touch again what it passed; data that it used twice is."""
    data = touch(0x6000, Access.READ)
    recording = truth(cr3(0x1000), data, touch(0x7000, Access.READ), data, FAULT, touch(0x9000))

    events = with_retouches(recording, pages=4, form=Form.USED_AGAIN).events

    assert events["address"].tolist()[6:] == [0x6000]


def test_without_that_form_any_page_comes_back() -> None:
    """The other form takes whatever was used last, and no form adds nothing."""
    recording = truth(cr3(0x1000), touch(0x5000, Access.READ), touch(0x6000, Access.READ), FAULT, touch(0x9000))

    assert with_retouches(recording, pages=1, form=Form.LAST).events["address"].tolist()[5:] == [0x6000]
    assert with_retouches(recording, pages=1, form=Form.NONE) is recording


def test_another_process_has_its_own_pages() -> None:
    """What one process used is not touched by the next one."""
    recording = truth(cr3(0x1000), touch(0x5000), cr3(0x2000), touch(0x6000), FAULT, touch(0x9000))

    events = with_retouches(recording, pages=4, form=Form.USED_AGAIN).events

    assert events["address"].tolist()[6:] == [0x6000]


def test_a_root_that_is_made_anew_remembers_nothing() -> None:
    """A frame that becomes a root again belongs to a new process."""
    link = (int(Event.LINK), 0x1000, 4, 0)
    recording = truth(cr3(0x1000), touch(0x5000), link, FAULT, touch(0x9000))

    assert len(with_retouches(recording, pages=4, form=Form.USED_AGAIN).events) == len(recording.events)


def test_markers_and_rows_move_with_the_events() -> None:
    """A marker stays between the same recorded events."""
    recording = truth(cr3(0x1000), touch(0x5000), FAULT, touch(0x9000), touch(0xA000), markers={"w": (1, 5)})

    longer = with_retouches(recording, pages=1, form=Form.USED_AGAIN)

    assert longer.row.tolist() == [0, 1, 2, 3, 3, 4]
    assert longer.markers == {"w": (1, 6)}


def test_fit_counts_pages_used_again_before_the_next_fault() -> None:
    """The fit is the mean number of known pages between a CR3 load and the next fault."""
    known = [touch(0x5000), touch(0x6000), touch(0x7000)]
    recording = truth(cr3(0x1000), *known, cr3(0x1000), *known, FAULT, cr3(0x1000), known[0], FAULT, known[1], FAULT)

    fit = fit_retouches(recording)

    assert (fit.pages, fit.intervals, fit.median, fit.mean_error) == (2, 2, 2.0, 1.0)


def test_fit_prefers_the_form_that_names_the_pages() -> None:
    """Where a process passes data and comes back to its code, the form that leaves passed data out is chosen."""
    passed = [touch(0x100000 + 0x1000 * page, Access.READ) for page in range(4)]
    code = [touch(0x5000), touch(0x6000)]
    recording = truth(cr3(0x1000), *code, *passed, cr3(0x1000), *code, FAULT)

    fit = fit_retouches(recording)

    assert fit.form is Form.USED_AGAIN
    assert fit.guessed == {Form.LAST.value: (0.0, 0.0), Form.USED_AGAIN.value: (1.0, 1.0)}
