"""From rows of a recording to events."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from engine.events import DIRECT_MAP_BASE
from engine.vocabulary import Access, Event, Instruction
from sweep.exit_codes import TraceError
from sweep.recordings.kvm.pieces import PIECE_ROWS
from sweep.recordings.kvm.reading import KvmTruth, import_kvm_truth, load_events
from tests.support.golden import RECORDINGS

SCHEMA = {
    "t": pl.UInt64, "workload": pl.String, "kind": pl.String, "addr": pl.UInt64, "old": pl.UInt64, "new": pl.UInt64,
    "size": pl.UInt8, "level": pl.UInt8, "live": pl.Boolean, "by": pl.String, "insn": pl.String, "insn_width": pl.UInt8,
    "function": pl.String, "access": pl.String, "reason": pl.String, "created": pl.Boolean, "role": pl.UInt64,
}  # fmt: skip
TABLE = 0x5000
START = {"kind": "marker_start", "workload": "w", "addr": 1, "t": 100}
WHOLE = 1 << 30
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
    other = [row | {"workload": "x", "t": 400} for row in (START, END)]
    truth = load_events(recording(tmp_path, [START, touch(0x1000, "R"), END, *other]))

    assert truth.markers == {"w": (2, 5), "x": (7, 9)}
    assert truth.events["value"].tolist() == [0, 0, 0, 250, 1, 50, 2, 0, 3]


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


def assert_same(pieces: KvmTruth, whole: KvmTruth) -> None:
    """Compare two conversions of one recording, byte by byte."""
    assert pieces.events.tobytes() == whole.events.tobytes()
    assert pieces.row.tobytes() == whole.row.tobytes()
    assert pieces.kvm.equals(whole.kvm)
    assert pieces.markers == whole.markers


def random_rows(seed: int, length: int = 150) -> list[dict[str, Any]]:
    """Return rows at few addresses, so that most of them have something to do with a row near or far."""
    rng = np.random.default_rng(seed)

    def pick(options: Sequence[Any]) -> Any:
        return options[int(rng.integers(len(options)))]

    fault, unnamed = {"kind": "kvm_fault", "insn": "rep_stos"}, store(0, 0, by="kvm", insn="kvm_other")
    rows: list[dict[str, Any]] = [row | {"addr": TABLE + 8 * i} for i in range(3) for row in (fault, unnamed)]
    rep = {"insn": "rep_stos", "function": "memset"}
    at = TABLE
    for i in range(length):
        at = pick([at + 8, at + 8, at + 8, TABLE, TABLE + 0x1FF8, TABLE + 0x2008])
        touched = [touch(DIRECT_MAP_BASE + at + 8, "W", at + 8), touch(0x7F000 + at + 8, "RW", at + 8)]
        kinds: list[dict[str, Any]] = [
            *[store(at, 0, **rep)] * 8,
            *[unnamed | {"addr": at}] * 2,
            *[store(at, 1, by="kvm", insn="kvm_ad", size=1), store(at, 5)],
            *[*touched, touch(at, "X"), {"kind": "guest_fault", "addr": at}, {"kind": "cr3", "addr": 0x3000}],
            {"kind": "kvm_fault", "addr": at, "old": pick([0, 2, 4, 16]), "insn": pick(["rep_stos", "mov", None])},
            {"kind": pick(["marker_start", "marker_end"]), "workload": f"w{i // 20}"},
        ]
        rows.append({"t": i * i} | pick(kinds))
    return rows


@pytest.mark.parametrize("seed", range(8))
def test_events_do_not_depend_on_where_rows_are_cut(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces as small as one row give what the whole gives, whatever looks back, looks ahead or becomes one event."""
    for module in ("pieces", "rows"):
        monkeypatch.setattr(f"sweep.recordings.kvm.{module}.REACH_ROWS", 6)
    source = recording(tmp_path, random_rows(seed))
    whole = load_events(source, piece_rows=WHOLE)

    for size in (1, 5):
        assert_same(load_events(source, piece_rows=size), whole)


@pytest.mark.parametrize("file", ["direct-1", "nested-default"])
def test_pieces_of_a_real_recording_are_its_whole(file: str) -> None:
    """What a real guest and a real KVM did is the same in pieces of a size that divides nothing."""
    source = RECORDINGS / "events" / f"{file}.parquet"

    assert_same(load_events(source, piece_rows=50_021), load_events(source, piece_rows=WHOLE))


def test_import_is_written_piece_by_piece(tmp_path: Path) -> None:
    """The importer holds no more than a piece: the trace of a long recording has many row groups, and all events."""
    source = RECORDINGS / "events" / "direct-1.parquet"

    import_kvm_truth(source, tmp_path / "trace.parquet")

    with pq.ParquetFile(tmp_path / "trace.parquet") as stored:
        groups = [stored.metadata.row_group(i).num_rows for i in range(stored.num_row_groups)]
        table = stored.read()
    events = load_events(source, piece_rows=WHOLE).events
    assert max(groups) < 2 * PIECE_ROWS < sum(groups) == len(events)
    assert all(np.array_equal(table[name].to_numpy(), events[name]) for name in table.column_names)


def test_failed_import_leaves_nothing(tmp_path: Path) -> None:
    """A recording that can't be used to its end leaves no file, and an output that is the recording is refused."""
    source = recording(tmp_path, [START, {"kind": "sneeze"}, END])
    before = source.read_bytes()

    with pytest.raises(TraceError, match="sneeze"):
        import_kvm_truth(source, tmp_path / "trace.parquet")
    with pytest.raises(TraceError, match="is the recording itself"):
        import_kvm_truth(source, source)

    assert list(tmp_path.iterdir()) == [source]
    assert source.read_bytes() == before


def test_rows_out_of_order_are_an_error(tmp_path: Path) -> None:
    """A recording whose order was lost is not converted."""
    source = recording(tmp_path, [START, touch(0x1000, "R"), END])
    pl.read_parquet(source).reverse().write_parquet(source)

    with pytest.raises(TraceError, match="row 1: seq is not above"):
        load_events(source)
