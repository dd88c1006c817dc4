"""From rows of a recording to events."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from engine.events import DIRECT_MAP_BASE
from engine.vocabulary import Access, Event, Instruction
from sweep.trace.errors import TraceError
from sweep.trace.kvm_truth import import_kvm_truth, load_events

SCHEMA = {
    "t": pl.UInt64, "workload": pl.String, "kind": pl.String, "addr": pl.UInt64, "old": pl.UInt64, "new": pl.UInt64,
    "size": pl.UInt8, "level": pl.UInt8, "live": pl.Boolean, "by": pl.String, "insn": pl.String, "insn_width": pl.UInt8,
    "function": pl.String, "access": pl.String, "reason": pl.String, "created": pl.Boolean, "role": pl.UInt64,
}  # fmt: skip
TABLE = 0x5000
START = {"kind": "marker_start", "workload": "w", "addr": 1, "t": 100}
END = {"kind": "marker_end", "workload": "w", "addr": 1, "t": 350}


def recording(folder: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write rows as a recording."""
    path = folder / "nested-x.parquet"
    table = pl.DataFrame([{name: row.get(name) for name in SCHEMA} for row in rows], schema=SCHEMA)
    table.with_row_index("seq").write_parquet(path)
    return path


def store(address: int, value: int, **more: Any) -> dict[str, Any]:
    """Return a store of the guest to a live table."""
    row = {"kind": "store", "addr": address, "old": 0, "new": value, "size": 8, "level": 1, "live": True}
    return row | {"by": "guest", "insn": "mov", "function": "set_pte"} | more


def touch(address: int, access: str, new: int | None = None, by: str = "guest") -> dict[str, Any]:
    """Return a touch."""
    return {"kind": "touch", "addr": address, "access": access, "new": new, "by": by}


def test_touch_of_a_store_through_the_direct_map_is_the_store(tmp_path: Path) -> None:
    """The access that a store makes is not counted twice."""
    rows = [START, touch(DIRECT_MAP_BASE + TABLE + 8, "RW", TABLE + 8), store(TABLE + 8, 3), END]

    events = load_events(recording(tmp_path, rows)).events

    assert events["kind"].tolist() == [Event.RUN, Event.WINDOW, Event.STORE, Event.RUN, Event.WINDOW]
    assert events["access"][2] == Access.LIVE


def test_touch_of_a_store_elsewhere_announces_its_address(tmp_path: Path) -> None:
    """A store through another address keeps its touch, and both are marked."""
    rows = [START, touch(0x7F008, "W", by="kvm"), store(TABLE + 8, 3, by="kvm"), END]

    events = load_events(recording(tmp_path, rows)).events[2:4]

    assert events["kind"].tolist() == [Event.TOUCH, Event.STORE]
    assert events["access"].tolist() == [Access.WRITE | Access.USER | Access.USER_VA, Access.LIVE | Access.USER_VA]


def test_touch_before_a_store_to_another_place_stays(tmp_path: Path) -> None:
    """A write that is not the store's stays an access of its own."""
    rows = [START, touch(DIRECT_MAP_BASE + TABLE + 16, "RW", TABLE + 16), store(TABLE + 8, 3), END]

    events = load_events(recording(tmp_path, rows)).events[2:4]

    assert events["kind"].tolist() == [Event.TOUCH, Event.STORE]
    assert events["access"][0] == Access.READ | Access.WRITE


def test_rep_stos_is_one_store(tmp_path: Path) -> None:
    """Rows of one rep instruction become one event, and another value begins another."""
    rep = {"insn": "rep_stos", "function": "memset"}
    rows = [START, *[store(TABLE + 8 * i, 0, **rep) for i in range(5)], store(TABLE + 40, 7, **rep), END]

    events = load_events(recording(tmp_path, rows)).events[2:4]

    assert events["insn"].tolist() == [Instruction.REP_STOS] * 2
    assert events["count"].tolist() == [5, 1]
    assert events["address"].tolist() == [TABLE, TABLE + 40]


def test_cut_page_clear_has_its_full_length(tmp_path: Path) -> None:
    """A page clear whose end the recorder left out still clears the whole page."""
    rep = {"insn": "rep_stos", "function": "clear_page_rep", "live": False}
    rows = [START, *[store(TABLE + 8 * i, 0, **rep) for i in range(128)], END]

    events = load_events(recording(tmp_path, rows)).events

    assert events["count"][2] == 512


def test_bits_that_kvm_set_are_content(tmp_path: Path) -> None:
    """Accessed and dirty bits change memory, but are no store of the guest."""
    rows = [START, store(TABLE + 1, 0x67, by="kvm", insn="kvm_ad", size=1), END]

    event = load_events(recording(tmp_path, rows)).events[2]

    assert (event["kind"], event["address"], event["value"]) == (Event.CONTENT, TABLE, 0x67)


def test_guest_fault_takes_its_access_from_the_error_code(tmp_path: Path) -> None:
    """KVM's fault at the same address says what the access was, also with another fault in between."""
    rows = [
        START,
        {"kind": "kvm_fault", "addr": 0x400000, "old": 6, "access": "W"},
        {"kind": "kvm_fault", "addr": 0xFFFFFE0000000000, "old": 0, "access": "R"},
        {"kind": "guest_fault", "addr": 0x400000},
        END,
    ]

    truth = load_events(recording(tmp_path, rows))

    assert truth.events["access"][2] == Access.WRITE | Access.USER
    assert truth.kvm["event"].to_list() == [2, 2]


def test_guest_fault_without_kvm_takes_its_access_from_the_next_touch(tmp_path: Path) -> None:
    """Without a hypervisor the access that succeeds afterwards tells what failed."""
    rows = [START, {"kind": "guest_fault", "addr": 0x400010}, touch(0x400000, "X"), END]

    assert load_events(recording(tmp_path, rows)).events["access"][2] == Access.FETCH | Access.USER


def test_markers_cut_windows_and_run_time(tmp_path: Path) -> None:
    """A workload's window starts and ends with a WINDOW event, its instructions before the second."""
    truth = load_events(recording(tmp_path, [START, touch(0x1000, "R"), END]))

    assert truth.markers == {"w": (2, 5)}
    assert truth.events["value"].tolist() == [0, 0, 0, 250, 1]


def test_without_boot_the_last_root_is_kept(tmp_path: Path) -> None:
    """A recording that starts at the first marker starts with the root that was loaded then."""
    rows = [{"kind": "cr3", "addr": 0x3000}, touch(0x1000, "R"), START, touch(0x2000, "R"), END]

    events = load_events(recording(tmp_path, rows), include_boot=False).events

    assert events["kind"].tolist()[:4] == [Event.CR3, Event.RUN, Event.WINDOW, Event.TOUCH]
    assert events["value"][0] == 0x3000


def test_unknown_kind_is_an_error_with_its_row(tmp_path: Path) -> None:
    """A row that we can't read is not dropped."""
    with pytest.raises(TraceError, match="row 1: kind 'sneeze' is not one of"):
        load_events(recording(tmp_path, [START, {"kind": "sneeze"}, END]))


def test_missing_column_is_an_error(tmp_path: Path) -> None:
    """Another layout is told from a recording."""
    path = tmp_path / "other.parquet"
    pl.DataFrame({"seq": [1]}).write_parquet(path)

    with pytest.raises(TraceError, match="no column t, workload"):
        load_events(path)


def test_imported_trace_holds_the_events(tmp_path: Path) -> None:
    """The stored layer-2 trace is the events, column by column."""
    source = recording(tmp_path, [START, store(TABLE, 3), END])

    import_kvm_truth(source, tmp_path / "trace.parquet")

    stored = pl.read_parquet(tmp_path / "trace.parquet")
    events = load_events(source).events
    assert stored.columns == list(events.dtype.names or ())
    assert all(np.array_equal(stored[name].to_numpy(), events[name]) for name in stored.columns)


def test_unnamed_emulated_store_has_the_instruction_of_its_fault(tmp_path: Path) -> None:
    """What KVM stored for the guest under no name was the instruction that faulted there, if the place is the same."""
    table = 0x2A16000
    va = 0xFFFF888000000000 + table
    fault = {
        "kind": "kvm_fault",
        "addr": va + 0xC8,
        "old": 3,
        "access": "W",
        "insn": "mov",
        "function": "native_set_pte",
    }
    emulated = [
        {"kind": "touch", "addr": va + 0xC8, "access": "W", "by": "kvm"},
        store(table + 0xC8, 0x3DAC063, by="kvm", insn="kvm_other", size=8),
    ]
    elsewhere = [
        {"kind": "touch", "addr": va + 0x10, "access": "W", "by": "kvm"},
        store(table + 0x10, 1, by="kvm", insn="kvm_other", size=8),
    ]

    events = load_events(recording(tmp_path, [START, fault, *emulated, *elsewhere, END])).events

    stores = events[events["kind"] == Event.STORE]
    assert stores["insn"].tolist() == [Instruction.MOV, Instruction.OTHER]
