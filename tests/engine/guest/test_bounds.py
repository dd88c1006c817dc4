"""No operation writes outside the model's arrays: whatever it is, the events are the same for every size of buffer."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.core.guest.model import GuestModel
from engine.events import DIRECT_MAP_BASE
from engine.guest import constants as c
from engine.guest.state import AREAS_MAX
from engine.operations import OPERATION, PID_MAX, TIME_NS_MAX, WINDOWS_MAX, OperationChecks, Operations
from engine.vocabulary import Activity, Operation
from tests.support.guest.frames import free_frames
from tests.support.guest.isolated import digests
from tests.support.guest.scripts import (
    CHILD,
    DATA,
    FILE,
    FORK,
    PAGE,
    PROT_R,
    PROT_RW,
    SHELL,
    VFORK,
    Script,
    after,
    new_model,
    play,
    process_with_pages,
    run_more,
    small_guest,
)

SIZES = (1 << 15, 1 << 17, 1 << 20, 1, 1000)
"""Buffers, in events."""
SMALL = {"max_processes": 64, "low_frames": 64}
EDGES = (
    0,
    1,
    PAGE,
    0x400000,
    DATA,
    DATA + 5 * PAGE + 7,
    c.STACK_LOWEST,
    c.STACK_TOP - PAGE,
    c.USER_END - PAGE,
    c.USER_END,
    1 << 62,
    (1 << 63) - 1,
    1 << 63,
    DIRECT_MAP_BASE,
    (1 << 64) - PAGE,
    (1 << 64) - 1,
)
"""Addresses and lengths at which ranges begin, end or turn negative."""


def sizes(**parameters: int) -> list[dict[str, int]]:
    """Return the same parameters for each size of buffer."""
    return [SMALL | parameters | {"chunk_events": size} for size in SIZES]


def reused_pid() -> Operations:
    """Return a process with many pages whose exit is lost: another starts a child that has its pid."""
    script = Script()
    script.add(Operation.EXEC, SHELL)
    script.add(Operation.MAP, SHELL, DATA, 1 << 33, flags=PROT_RW)
    for page in range(0, 1 << 21, 16):
        script.write(SHELL, DATA + page * PAGE)
    script.add(Operation.EXEC, CHILD)
    script.add(Operation.CLONE, CHILD, peer=SHELL, flags=FORK)
    script.add(Operation.SWITCH_IN, SHELL)
    script.write(SHELL, DATA)
    return script.operations()


def faulting_retouches() -> Operations:
    """Return a child of a vfork that touches again hundreds of pages of files which fork does not copy."""
    script = Script()
    script.add(Operation.EXEC, SHELL)
    for file in range(200):
        script.add(Operation.MAP, SHELL, DATA + (file << 30), 1 << 21, flags=PROT_R | FILE)
        for page in range(0, 512, 64):
            script.read(SHELL, DATA + (file << 30) + page * PAGE)
    for round_ in range(8):
        child = CHILD + round_
        script.add(Operation.CLONE, SHELL, peer=child, flags=0x4000)
        script.add(Operation.SWITCH_IN, child)
        for _ in range(6):
            script.write(child, c.STACK_TOP - PAGE)
            script.now += 10_000_000
        script.add(Operation.SWITCH_IN, SHELL)
    return script.operations()


def anything(seed: int, count: int = 400) -> Operations:
    """Draw operations of few processes on edges of the address space, some long after those before."""
    random = np.random.default_rng(seed)
    rows = np.zeros(count, OPERATION)
    rows["time_ns"] = np.cumsum(random.choice((0, 1000, 100_000, 30_000_000, 3_000_000_000), count))
    weights = np.array((1, 1, 8, 3, 1, 2, 1, 1, 1, 2, 2, 1), float)
    rows["kind"] = random.choice(len(Operation), count, p=weights / weights.sum())
    places = np.array(EDGES, np.uint64)
    near = random.integers(0, 600, count).astype(np.uint64) * np.uint64(PAGE)
    rows["address"] = random.choice(places, count) + near * random.integers(0, 2, count).astype(np.uint64)
    rows["length"] = np.where(random.integers(0, 2, count) == 0, near, random.choice(places, count))
    rows["flags"] = random.choice((0, 2, 3, 4, 6, 7, 0x14, 3 | FILE, FORK, VFORK, 0x4000, 0xFFFFFFFF), count)
    rows["pid"] = random.choice((0, 1, 100, 101, 102, PID_MAX), count)
    rows["peer"] = random.choice((99, 103, 104, 105, PID_MAX - 1), count)
    swapped = random.integers(0, 3, count) == 0
    rows["pid"][swapped], rows["peer"][swapped] = rows["peer"][swapped], np.maximum(rows["pid"][swapped], 1)
    rows["vcpu"] = random.integers(0, 2, count)
    rows["comm"] = random.integers(0, 1 << 16, count)
    return rows


def same(row: list[str]) -> str:
    """Return what all sizes of buffer gave."""
    assert len(set(row)) == 1, row
    return row[0]


def test_a_pid_that_is_used_again_before_its_exit_was_seen(tmp_path: Path) -> None:
    """A lost exit happens when the pid is given anew: all its entries are cleared, whatever the size of the buffer."""
    operations = reused_pid()

    found = digests(tmp_path, [operations, operations[:-3]], sizes(), vcpus=2, memory_mib=2048)

    before, gained = (int(same(row).split()[0]) for row in reversed(found))
    assert gained - before > 1 << 17


def test_retouches_that_fault_and_map_around(tmp_path: Path) -> None:
    """Every one of the retouches before an operation may map as many pages as fault-around has."""
    parameters = {"fault_around_pages": 64, "retouch_pages_first": 2000, "retouch_pages_per_ms": 10_000}

    found = digests(tmp_path, [faulting_retouches()], sizes(**parameters), memory_mib=256)

    assert int(same(found[0]).split()[0]) > 1 << 15


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"fault_around_pages": 512, "retouch_breaks_cow": 1, "retouch_pages_per_ms": 1 << 20},
        {"tlb_single_page_flush_ceiling": 0, "file_pages_per_exit": 4096, "retouch_pages_first": 5000},
        {
            "tlb_single_page_flush_ceiling": 4096,
            "exec_argument_pages": 32,
            "process_data_pages": 64,
            "low_frames": 1000,
        },
    ],
    ids=["default", "retouches", "writes", "flushes"],
)
def test_any_operations_give_the_same_events_for_every_buffer(tmp_path: Path, parameters: dict[str, int]) -> None:
    """Operations that no recording would hold make the same events, or the same error, with buffers of any size."""
    traces = [anything(seed) for seed in range(12)]

    found = digests(tmp_path, traces, sizes(**parameters), vcpus=2, memory_mib=128)

    assert len({same(row) for row in found}) == len(traces)


def test_an_operation_that_the_core_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the core refuses what the checks let pass, the error names it."""
    monkeypatch.setattr(OperationChecks, "check", lambda *_: None)
    operations = process_with_pages(1).operations()
    operations["vcpu"][2] = 1
    model = new_model(small_guest())
    list(model.start())

    with pytest.raises(
        RuntimeError,
        match=r"guest model: operation 2 \(MAP, pid 100, vcpu 1\) at 3000 ns: it was changed after it was looked at",
    ):
        list(model.feed(operations))


def test_a_lost_exit_leaves_no_vcpu_with_the_old_process() -> None:
    """The vCPU that ran a process whose pid is given anew runs nothing, until the new process is switched in."""
    script = process_with_pages(4)
    script.add(Operation.SWITCH_IN, CHILD, vcpu=1)
    script.write(CHILD, DATA)
    script.rows[-1] = (*script.rows[-1][:7], 1, 0)
    model, _ = after(script, vcpus=2)
    assert int(model.state.cpus["pid"][1]) == CHILD

    more = Script()
    more.now = script.now
    more.add(Operation.CLONE, SHELL, peer=CHILD, flags=FORK)
    run_more(model, more)

    assert int(model.state.cpus["pid"][1]) == c.NONE
    assert not model.state.cpus["running"][1]


def fork_and_exit(mapped: int) -> tuple[bytes, float]:
    """Return the events of a fork, an mprotect and two exits beside a mapping of so many bytes, and its CPU time, s."""
    script = process_with_pages(20)
    script.add(Operation.MAP, SHELL, 1 << 40, mapped, flags=PROT_RW)
    script.write(SHELL, 1 << 40)
    model, _ = after(script)
    more = Script()
    more.now = script.now
    more.add(Operation.CLONE, SHELL, peer=CHILD, flags=FORK)
    more.add(Operation.PROTECT, SHELL, 1 << 40, mapped, flags=PROT_R)
    more.add(Operation.EXIT, CHILD)
    more.add(Operation.UNMAP, SHELL, 1 << 40, mapped)
    more.add(Operation.EXIT, SHELL)
    started = time.process_time()
    events = run_more(model, more)
    return events.tobytes(), time.process_time() - started


def test_cost_follows_what_is_present() -> None:
    """A mapping of 15 TiB of which one page was touched makes the events of a small one, in about its time."""
    fork_and_exit(PAGE)

    small, short = min((fork_and_exit(1 << 21) for _ in range(5)), key=lambda run: run[1])
    large, long = min((fork_and_exit(15 << 40) for _ in range(5)), key=lambda run: run[1])

    assert large == small
    assert long < 20 * short


def many_areas(*, pages: int) -> Script:
    """Return a process with as many areas as the model has room for, each of so many written pages."""
    script = process_with_pages(1)
    for area in range(AREAS_MAX):
        place = 4 * DATA + area * (pages + 1) * PAGE
        script.add(Operation.MAP, SHELL, place, pages * PAGE, flags=PROT_RW)
        for page in range(pages):
            script.write(SHELL, place + page * PAGE)
    return script


@pytest.mark.parametrize(("first", "pages"), [(1, 8), (0, 7), (1, 1), (3, 9)])
def test_no_page_is_lost_where_areas_are_full(first: int, pages: int) -> None:
    """Unmapping and mapping parts of areas, when no area can be divided, leaks no frame and copies no page twice."""
    model = new_model(small_guest())
    list(model.start())
    before = len(free_frames(model))
    script = many_areas(pages=3)
    start = 4 * DATA + (40 + first) * PAGE
    script.add(Operation.UNMAP, SHELL, start, pages * PAGE)
    script.add(Operation.MAP, SHELL, start, pages * PAGE, flags=PROT_RW)
    script.add(Operation.CLONE, SHELL, peer=CHILD, flags=FORK)

    play(model, script, start=False)

    state = model.state
    living = state.processes["mm"][state.processes["pid"] != c.NONE]
    starts, ends = state.areas["start"][living[0]], state.areas["end"][living[0]]
    count = int(state.mms["areas"][living[0]])
    assert (ends[: count - 1] <= starts[1:count]).all()
    more = Script()
    more.now = script.now
    for pid in (CHILD, SHELL):
        more.add(Operation.EXIT, pid)
    more.add(Operation.SWITCH_IN, 999)
    play(model, more, start=False)
    assert before - len(free_frames(model)) == int(state.globals["fills"][0])


def test_retouches_go_on_however_long_a_process_runs() -> None:
    """Run time times rate does not run over: a process that ran for 200 days still touches its pages."""
    script = process_with_pages(600)
    parameters = {"max_processes": 64, "retouch_pages_per_ms_later": 1 << 20}
    model = GuestModel(small_guest(), seed=1, window_ns=1 << 54, parameters=parameters)
    play(model, script)
    more = Script()
    more.now = script.now
    more.add(Operation.CLONE, SHELL, peer=CHILD, flags=FORK)
    more.add(Operation.BRK, SHELL, after_ns=1 << 54)

    events = play(model, more, start=False)

    assert np.count_nonzero(events["activity"] == Activity.RETOUCH) > 100


def rows_of(changes: dict[str, Any]) -> Operations:
    """Return three operations of which the last is changed."""
    rows = np.zeros(3, OPERATION)
    rows["time_ns"] = (1000, 2000, 3000)
    rows["pid"], rows["kind"] = SHELL, Operation.CLONE
    rows["peer"] = (1, 2, 3)
    for name, value in changes.items():
        rows[name][2] = value
    return rows


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": 12}, r"operation 5 \(kind 12, .* allowed are kinds 0 to 11 \(EXIT\)"),
        ({"vcpu": 3}, r"operation 5 .* vcpu 3\) .* guests.vcpus is 1; set it to at least 4"),
        ({"time_ns": 1999}, r"operation 5 .* at 1999 ns: is earlier than the one before it; sort the operations"),
        ({"time_ns": TIME_NS_MAX + 1}, rf"operation 5 .*: a trace has .* and {TIME_NS_MAX} ns"),
        ({"time_ns": 1 << 63}, "operation 5 .* at 9223372036854775808 ns: a trace has"),
        ({"time_ns": WINDOWS_MAX * 10_000_000 + 1}, f"operation 5 .*: a trace has at most {WINDOWS_MAX} windows"),
        ({"pid": PID_MAX + 1}, rf"operation 5 \(CLONE, pid 2147483648, .* allowed are pids 0 to {PID_MAX}"),
        ({"peer": 0}, r"operation 5 \(CLONE, pid 100, peer 0, .* allowed as its peer are other pids from 1"),
        ({"peer": SHELL}, r"operation 5 \(CLONE, pid 100, peer 100, .* allowed as its peer are other pids from 1"),
        ({"peer": PID_MAX + 1}, r"operation 5 \(CLONE, pid 100, peer 2147483648, .* allowed as its peer"),
    ],
)
def test_operations_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    """A wrong operation is named by its number in the whole trace, and none of its array is carried out."""
    model = new_model(small_guest())
    list(model.start())
    list(model.feed(rows_of({})))
    count = int(model.state.globals["count"][0])
    second = rows_of(changes)
    second["time_ns"][:2] += np.uint64(2000)
    second["time_ns"][2] += np.uint64(0 if "time_ns" in changes else 2000)
    second["peer"][:2] = (4, 5)

    with pytest.raises(ValueError, match=message):
        list(model.feed(second))

    assert int(model.state.globals["count"][0]) == count


def test_times_may_not_go_back_between_arrays() -> None:
    """The first operation of an array is held against the last of the array before."""
    model = new_model(small_guest())
    list(model.start())
    list(model.feed(rows_of({})))

    with pytest.raises(ValueError, match=r"operation 3 .* at 1000 ns: is earlier"):
        list(model.feed(rows_of({})))
