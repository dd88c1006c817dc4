"""What single operations do: fork's copy rules, reuse of frames, flushes, instructions, limits, refusals."""

import hashlib
from typing import Any

import numpy as np
import pytest

from engine.events import EVENT, Events
from engine.guest import constants as c
from engine.guest.model import GuestModel
from engine.guest.parameters import LINUX_2011, PARAMETERS, resolve
from engine.guests import Guest
from engine.operations import OPERATION
from engine.vocabulary import Access, Activity, Event, Instruction, Operation
from tests.guest.scripts import CHILD, FILE, FORK, PAGE, PROT_RW, SHELL, VFORK, Script, new_model, play, small_guest

DATA = 0x10000000
GOLDEN_DIGEST = "19cd7e6aab1c5b30"


def stores(events: Events, *, activity: Activity | None = None, insn: Instruction | None = None) -> Events:
    """Select stores by activity and instruction."""
    keep = events["kind"] == Event.STORE
    if activity is not None:
        keep &= events["activity"] == activity
    if insn is not None:
        keep &= events["insn"] == insn
    selected: Events = events[keep]
    return selected


def of_kind(events: Events, kind: Event) -> Events:
    """Select events of a kind."""
    selected: Events = events[events["kind"] == kind]
    return selected


def process_with_pages(pages: int) -> Script:
    """Return a script of a process with some written private pages and one page of a shared file."""
    script = Script()
    script.add(Operation.SWITCH_IN, SHELL)
    script.add(Operation.EXEC, SHELL)
    script.add(Operation.MAP, SHELL, DATA, pages * PAGE, flags=PROT_RW)
    script.add(Operation.MAP, SHELL, 2 * DATA, 64 * PAGE, flags=1 | FILE)
    script.read(SHELL, 2 * DATA)
    for page in range(pages):
        script.write(SHELL, DATA + page * PAGE)
    return script


def after(script: Script, parameters: dict[str, int] | None = None, **guest: Any) -> tuple[GuestModel, Events]:
    """Play a script and return the model with its events."""
    model = new_model(small_guest(**guest), parameters)
    return model, play(model, script)


def run_more(model: GuestModel, script: Script) -> Events:
    """Play a script that goes on after another."""
    return play(model, script, start=False)


def follow(script: Script) -> Script:
    """Return an empty script that starts when another ends."""
    more = Script()
    more.now = script.now
    return more


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
    assert all(value & (c.WRITABLE | c.ACCESSED) == 0 and value & c.PRESENT for value in copied)
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


@pytest.mark.parametrize(("pages", "invalidations", "loads"), [(33, 33, 0), (34, 0, 1)])
def test_short_ranges_are_flushed_page_by_page(pages: int, invalidations: int, loads: int) -> None:
    """Unmapping up to 33 pages takes INVLPG for each, more takes one CR3 load."""
    script = process_with_pages(pages)
    model, _ = after(script)
    more = follow(script)
    more.add(Operation.UNMAP, SHELL, DATA, pages * PAGE)

    events = run_more(model, more)

    assert invalidations == len(of_kind(events, Event.INVLPG))
    assert loads == len(of_kind(events, Event.CR3))


def test_linux_of_2011_always_loads_cr3() -> None:
    """With the parameters of 2011 even one page is flushed with a CR3 load, and no neighbours are mapped."""
    script = process_with_pages(1)
    model, before = after(script, dict(LINUX_2011))
    more = follow(script)
    more.add(Operation.UNMAP, SHELL, DATA, PAGE)

    events = run_more(model, more)

    assert len(of_kind(events, Event.CR3)) == 1
    assert len(of_kind(events, Event.INVLPG)) == 0
    reads = before[(before["activity"] == Activity.DEMAND_FAULT) & (before["kind"] == Event.STORE)]
    assert len(reads[reads["value"] & np.uint64(c.WRITABLE) == 0]) > 0


def test_threads_on_another_vcpu_are_interrupted() -> None:
    """An unmap by one thread flushes the vCPU on which another thread of the process runs, and no idle one."""
    script = process_with_pages(40)
    script.add(Operation.CLONE, SHELL, peer=CHILD, flags=0x100)
    script.add(Operation.SWITCH_IN, CHILD, vcpu=1)
    model, _ = after(script, vcpus=3)
    more = follow(script)
    more.add(Operation.UNMAP, SHELL, DATA, 40 * PAGE)

    loads = of_kind(run_more(model, more), Event.CR3)

    assert {0, 1} == set(loads["vcpu"].tolist())
    assert len(set(loads["value"].tolist())) == 1


def test_kernel_threads_borrow_the_address_space() -> None:
    """Switching to a thread without an address space and back loads no CR3."""
    script = process_with_pages(1)
    model, _ = after(script)
    more = follow(script)
    for pid in (900, SHELL):
        more.add(Operation.SWITCH_IN, pid)

    assert len(of_kind(run_more(model, more), Event.CR3)) == 0


def test_memory_pressure_takes_pages_away_instead_of_failing() -> None:
    """A process larger than the memory goes on; pages that were taken away are counted."""
    script = process_with_pages(1)
    for page in range(9000):
        script.write(SHELL, 4 * DATA + page * PAGE)

    model, _ = after(script, {"low_frames": 64}, memory_mib=80)

    assert model.reclaimed_pages > 0


def test_a_long_trace_comes_in_chunks() -> None:
    """The buffer is handed out before it overflows, and grows when one operation needs more than all of it."""
    script = process_with_pages(6000)
    script.add(Operation.EXIT, SHELL)
    model = new_model(small_guest())

    sizes = [len(chunk) for chunk in model.start()]
    sizes += [len(chunk) for chunk in model.feed(script.operations())]
    sizes += [len(chunk) for chunk in model.finish()]

    assert len(sizes) > 2
    assert max(sizes) <= len(model.state.out)


def test_a_small_trace_has_the_digest_that_was_reviewed() -> None:
    """The events of a small trace are these bytes; only a change of the model on purpose changes them."""
    script = process_with_pages(50)
    script.add(Operation.CLONE, SHELL, peer=CHILD, flags=FORK)
    script.add(Operation.SWITCH_IN, CHILD, vcpu=1)
    script.write(CHILD, DATA)
    script.add(Operation.EXEC, CHILD, comm=1, vcpu=1, after_ns=20_000_000)
    script.add(Operation.FAULT, CHILD, 0x555555554000, flags=0x14, vcpu=1, comm=1)
    script.add(Operation.EXIT, CHILD, vcpu=1)
    script.add(Operation.EXIT, SHELL)

    _, events = after(script, vcpus=2)

    digest = hashlib.blake2b(events.tobytes(), digest_size=8).hexdigest()
    assert events.dtype == EVENT
    assert digest == GOLDEN_DIGEST


@pytest.mark.parametrize(
    ("guest", "parameters", "message"),
    [
        ({"memory_mib": 60}, {}, "memory_mib = 60"),
        ({"clear_instruction": "dc zva"}, {}, "clear_instruction = 'dc zva'; allowed: ('stosq', 'stosb', 'mov')"),
        ({"write_protect_instruction": "and"}, {}, "write_protect_instruction = 'and'"),
        ({"vcpus": 0}, {}, "vcpus = 0; allowed: 1 to 255"),
        ({}, {"pcp_bach": 1}, "unknown parameter 'pcp_bach'; known are: "),
        ({}, {"pcp_batch": 0}, "pcp_batch = 0; allowed is a whole number from 1 to 512"),
        ({}, {"pcp_batch": "many"}, "pcp_batch = 'many'; allowed is"),
    ],
)
def test_what_cannot_be_is_refused(guest: dict[str, Any], parameters: dict[str, Any], message: str) -> None:
    """A wrong guest or parameter is an error that names it, what was found and what is allowed."""
    with pytest.raises(ValueError, match="guest model: ") as caught:
        GuestModel(Guest(**guest), seed=1, window_ns=1000, parameters=parameters)

    assert message in str(caught.value)


def test_a_trace_for_more_vcpus_is_refused() -> None:
    """An operation on a vCPU that the guest lacks names the operation and the vCPUs that there are."""
    model = new_model(small_guest())
    operations = np.zeros(1, OPERATION)
    operations["vcpu"] = 3

    with pytest.raises(RuntimeError, match=r"operation 0 \(SWITCH_IN, pid 0, vcpu 3\): .* on vCPUs 0 to 0"):
        list(model.feed(operations))


def test_every_parameter_says_where_it_comes_from() -> None:
    """Each default names a source: a Linux version, a recording, an assumption or a limit of the model."""
    words = ("Linux", "recording", "assumption", "model", "events of one chunk", "vforks when they were recorded")

    assert all(any(word in parameter.help for word in words) for parameter in PARAMETERS.values())
    assert set(resolve({})) == set(PARAMETERS)
