"""What single operations do: fork's copy rules, reuse of frames, instructions of the stores."""

import resource

import pytest

from engine import x86
from engine.core.guest.model import GuestModel
from engine.guest.parameters import PARAMETERS
from engine.guests import Guest
from engine.vocabulary import Access, Activity, Event, Instruction, Operation
from tests.support.guest.scripts import (
    CHILD,
    DATA,
    FORK,
    PAGE,
    SHELL,
    VFORK,
    after,
    follow,
    of_kind,
    process_with_pages,
    run_more,
    stores,
)


def test_fork_copies_private_pages_only() -> None:
    """Fork writes the parent once and the child once for each private page, and nothing for pages of a file."""
    script = process_with_pages(7)
    model, _ = after(script)
    more = follow(script)
    more.add(Operation.CLONE, SHELL, peer=CHILD, flags=FORK)

    events = run_more(model, more)

    arguments = PARAMETERS["exec_argument_pages"].default
    protects = stores(events, activity=Activity.FORK, insn=Instruction.LOCK_AND)
    assert len(protects) == 7 + arguments
    assert set(protects["width"].tolist()) == {1}
    assert all(int(value) & 3 == 1 for value in protects["value"])
    copied = [
        int(event["value"])
        for event in stores(events, activity=Activity.FORK, insn=Instruction.MOV)
        if int(model.state.frames["level"][int(event["address"]) >> 12]) == 1
    ]
    assert len(copied) == 7 + arguments
    assert all(value & (x86.WRITABLE | x86.ACCESSED) == 0 and value & x86.PRESENT for value in copied)
    assert len(of_kind(events, Event.CR3)) == 1


def test_a_second_fork_protects_nothing_again() -> None:
    """Pages that an earlier fork made read-only are copied without a store to the parent."""
    script = process_with_pages(7)
    script.add(Operation.CLONE, SHELL, peer=CHILD, flags=FORK)
    model, _ = after(script)
    more = follow(script)
    more.add(Operation.CLONE, SHELL, peer=CHILD + 1, flags=FORK)

    assert len(stores(run_more(model, more), insn=Instruction.LOCK_AND)) == 0


def test_vfork_and_threads_copy_nothing() -> None:
    """A child that shares the address space costs no page-table store and no flush."""
    script = process_with_pages(7)
    model, _ = after(script)
    more = follow(script)
    more.add(Operation.CLONE, SHELL, peer=CHILD, flags=VFORK)

    events = run_more(model, more)

    assert len(of_kind(events, Event.CR3)) == 0
    assert len(stores(events)[stores(events)["access"] & Access.LIVE != 0]) == 0


def test_cmpxchg_guests_write_protect_with_eight_bytes() -> None:
    """The guest's write-protect instruction is the one that fork uses."""
    script = process_with_pages(3)
    script.add(Operation.CLONE, SHELL, peer=CHILD, flags=FORK)

    _, events = after(script, write_protect_instruction="cmpxchg")

    assert set(stores(events, insn=Instruction.CMPXCHG)["width"].tolist()) == {8}
    assert len(stores(events, insn=Instruction.LOCK_AND)) == 0


@pytest.mark.parametrize(
    ("instruction", "insn", "width", "count"),
    [
        ("stosq", Instruction.REP_STOS, 8, 512),
        ("stosb", Instruction.REP_STOS, 1, 4096),
        ("mov", Instruction.MOV, 8, 512),
    ],
)
def test_tables_are_cleared_by_the_guests_instruction(
    instruction: str,
    insn: Instruction,
    width: int,
    count: int,
) -> None:
    """Each new table is one clear of 4096 bytes, not live, before its parent points to it."""
    script = process_with_pages(1)

    _, events = after(script, clear_instruction=instruction)

    clears = stores(events)[stores(events)["count"] > 256]
    assert len(clears) > 0
    assert {(int(e["insn"]), int(e["width"]), int(e["count"])) for e in clears} == {(insn, width, count)}
    assert not any(int(event["access"]) & Access.LIVE for event in clears)


def test_freed_tables_come_back_hot() -> None:
    """The next process builds its tables in the frames that the last one freed, and no new frame becomes a table."""
    script = process_with_pages(3)
    for pid in (CHILD, CHILD + 1):
        script.add(Operation.CLONE, SHELL, peer=pid, flags=FORK)
        script.add(Operation.SWITCH_OUT, SHELL)
        script.add(Operation.SWITCH_IN, pid)
        script.add(Operation.EXIT, pid)
        script.add(Operation.SWITCH_IN, SHELL)
    model, _ = after(script, {"process_data_pages": 0})
    tables = int(model.state.frames["was_table"].sum())
    more = follow(script)
    more.add(Operation.CLONE, SHELL, peer=CHILD + 2, flags=FORK)

    events = run_more(model, more)

    assert tables == int(model.state.frames["was_table"].sum())
    assert len(of_kind(events, Event.LINK)) == 0


def test_tables_that_become_data_are_cleared_by_stores() -> None:
    """A table's frame that comes back as kernel data is a PAGE_REUSE store that is not live."""
    script = process_with_pages(3)
    script.add(Operation.UNMAP, SHELL, DATA, 3 * PAGE)
    model, _ = after(script)
    more = follow(script)
    more.add(Operation.CLONE, SHELL, peer=CHILD, flags=VFORK)

    reuse = stores(run_more(model, more), activity=Activity.PAGE_REUSE)

    assert len(reuse) > 0
    assert not any(int(event["access"]) & Access.LIVE for event in reuse)


def test_memory_that_no_process_uses_costs_the_host_nothing() -> None:
    """A guest of 1 TiB starts on a host of far less: a frame takes room only when something was done with it."""
    guest = Guest(vcpus=8, memory_mib=1 << 20)
    model = GuestModel(guest, seed=1, window_ns=10**9, parameters={})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    tables = sum(int((events["kind"] == Event.LINK).sum()) for events in model.start())

    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    # One table for each GiB of the direct map, and a few for the rest.
    assert 1024 < tables < 1100
    assert len(model.state.frames) == guest.pages
    assert grown_mib < 1 << 10
