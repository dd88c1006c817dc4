"""Where an exec begins: what the kernel writes to the new image belongs to the new address space."""

from pathlib import Path

import numpy as np
import pytest

from engine.core.guest.model import GuestModel
from engine.guests import Guest
from engine.operations import Operations
from engine.vocabulary import Event, Operation
from sweep.recordings import source as source_module
from sweep.recordings.importing import read_recording
from sweep.recordings.perf.text import REACH_OPERATIONS

PARENT = 500
NEW_IMAGE_WRITES = 3


@pytest.fixture(scope="module")
def recording(project: Path) -> Path:
    """Return the recording of a parent that starts twelve programs."""
    return project / "tests" / "data" / "perf" / "vfork-exec.perf.txt"


def read_without_marks(recording: Path, folder: Path) -> Operations:
    """Read a recording without the lines that mark where an exec begins."""
    path = folder / "unmarked.perf.txt"
    lines = recording.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "PERF_RECORD_COMM exec" not in line), encoding="utf-8")
    return read_recording(path)[0]


def links_and_parent(operations: Operations) -> tuple[int, list[int]]:
    """Carry out operations; return how many frames became tables, and the parent's resident pages, tables and areas."""
    guest = Guest(vcpus=1, memory_mib=256)
    model = GuestModel(guest, seed=1, window_ns=10_000_000, parameters={"max_processes": 16, "chunk_events": 1 << 15})
    list(model.start())
    links = 0
    for chunk in (*model.feed(operations), *model.finish()):
        links += int((chunk["kind"] == Event.LINK).sum())
    mms = model.state.mms[model.state.mms["live"] == 1]
    largest = mms[int(mms["resident"].argmax())]
    return links, [int(largest[name]) for name in ("resident", "tables", "areas")]


def test_programs_leave_nothing_in_their_parent(recording: Path) -> None:
    """A parent that started twelve programs ends with the pages, tables and areas of one that started none."""
    operations, _ = read_recording(recording)

    links, parent = links_and_parent(operations)

    assert parent == links_and_parent(operations[operations["pid"] == PARENT])[1]
    assert (links, parent) == (24, [62, 7, 2])


def test_a_recording_without_marks_gives_the_same_order(recording: Path, tmp_path: Path) -> None:
    """Where nothing marks the begin of an exec, it goes before the kernel's writes: all but its time is the same."""
    marked, _ = read_recording(recording)

    unmarked = read_without_marks(recording, tmp_path)

    for field in ("kind", "pid", "address", "flags", "peer", "length", "vcpu"):
        assert np.array_equal(unmarked[field], marked[field]), field
    assert bool((np.diff(unmarked["time_ns"].astype(np.int64)) >= 0).all())


def test_blocks_do_not_show_in_an_exec(recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exec is moved over writes that were read with an earlier block."""
    whole = read_without_marks(recording, tmp_path)
    monkeypatch.setattr(source_module, "BLOCK_BYTES", 400)

    assert np.array_equal(read_without_marks(recording, tmp_path), whole)


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (["exceptions:page_fault_kernel: address=0x1000 ip=x error_code=0x2"], [Operation.EXEC, Operation.FAULT]),
        (["exceptions:page_fault_kernel: address=0x1000 ip=x error_code=0x0"], [Operation.FAULT, Operation.EXEC]),
        (["exceptions:page_fault_user: address=0x1000 ip=x error_code=0x6"], [Operation.FAULT, Operation.EXEC]),
        (
            ["exceptions:page_fault_kernel: address=0x1000 ip=x error_code=0x2", "PERF_RECORD_COMM exec: b:1/1"],
            [Operation.FAULT, Operation.EXEC],
        ),
    ],
)
def test_only_writes_of_the_kernel_are_passed(before: list[str], expected: list[Operation], tmp_path: Path) -> None:
    """Reads, a program's own writes, and whatever comes before the mark of an exec stay in the old address space."""
    path = tmp_path / "lines.perf.txt"
    events = [*before, "sched:sched_process_exec: filename=/b pid=1 old_pid=1"]
    path.write_text("".join(f"b 1/1 [000] 1.00000{i}: {event}\n" for i, event in enumerate(events)), encoding="utf-8")

    operations, _ = read_recording(path)

    assert operations["kind"].tolist() == expected


def test_an_exec_is_not_moved_without_bound(tmp_path: Path) -> None:
    """Writes of the kernel before more operations of others than an import keeps are no writes of that exec."""
    path = tmp_path / "lines.perf.txt"
    write = "b 1/1 [000] 1.000000: exceptions:page_fault_kernel: address=0x1000 ip=x error_code=0x2"
    others = ["c 2/2 [001] 1.000001: PERF_RECORD_SWITCH IN"] * REACH_OPERATIONS
    done = "b 1/1 [000] 1.000002: sched:sched_process_exec: filename=/b pid=1 old_pid=1"
    path.write_text("".join(f"{line}\n" for line in [write, *others, done]), encoding="utf-8")

    operations, _ = read_recording(path)

    assert operations["kind"][-1] == Operation.EXEC
