"""Stores per operation against a recording of a real guest.

Provenance of the figures: Linux 6.1.192 (Debian cloud kernel, one vCPU, 128 MB, 4-level paging) under an emulator that
logs every store to a page-table page; workloads fork_exit (50 iterations), fork_exec (50), mmap64 (100), mmap512 (20),
mmap4096 (3), mprotect (20), cow (10). Figures are stores to live tables, summed over all iterations, by (level,
instruction), and CR3 loads, INVLPG and page faults, as recorded; the clears of a reused root, which the recorder counts
as live until its kernel half is overwritten, are left out.
"""

from collections import Counter
from types import MappingProxyType
from typing import Final

import pytest

from engine.events import Events
from engine.guest.model import GuestModel
from engine.vocabulary import Access, Event, Instruction, Operation
from tests.guest.scripts import CHILD, FILE, FORK, PAGE, PROT_R, PROT_RW, PROT_RX, SHELL, Script, new_model, small_guest

RECORDED: Final = MappingProxyType(
    {
        "fork_exit": {
            "L1 LOCK_AND": 109, "L1 MOV": 4300, "L1 XCHG": 250, "L2 MOV": 150, "L3 MOV": 100, "L4 MOV": 100,
            "CR3": 200, "INVLPG": 250, "GUEST_FAULT": 450,
        },
        "fork_exec": {
            "L1 LOCK_AND": 104, "L1 MOV": 6100, "L1 XCHG": 300, "L2 MOV": 300, "L3 MOV": 250, "L4 MOV": 250,
            "CR3": 250, "INVLPG": 250, "GUEST_FAULT": 550,
        },
        "mmap64": {"L1 MOV": 6400, "L1 XCHG": 6400, "CR3": 100, "GUEST_FAULT": 6400},
        "mmap512": {"L1 MOV": 10240, "L1 XCHG": 10240, "L2 MOV": 40, "CR3": 20, "GUEST_FAULT": 10240},
        "mmap4096": {"L1 MOV": 12288, "L1 XCHG": 12288, "L2 MOV": 48, "CR3": 3, "GUEST_FAULT": 12288},
        "mprotect": {"L1 MOV": 10496, "L1 XCHG": 10496, "CR3": 41, "GUEST_FAULT": 256},
        "cow": {
            "L1 LOCK_AND": 1688, "L1 MOV": 9052, "L1 XCHG": 1842, "L2 MOV": 42, "L3 MOV": 20, "L4 MOV": 20,
            "CR3": 41, "INVLPG": 1330, "GUEST_FAULT": 3162,
        },
    },
)  # fmt: skip
STACK = 0x7FFFFFFFD948
ARENA = 0x7FFFF7000000
CLOSE: Final = 0.05
"""Largest relative difference that counts as faithful."""


def set_up(script: Script) -> None:
    """Lay out the static program that made the recordings, and touch what its parent has touched."""
    script.add(Operation.SWITCH_IN, SHELL)
    script.add(Operation.EXEC, SHELL)
    script.add(Operation.MAP, SHELL, 0x401000, 0x96000, flags=PROT_RX | FILE)
    script.add(Operation.MAP, SHELL, 0x497000, 0x2A000, flags=PROT_R | FILE)
    script.add(Operation.MAP, SHELL, 0x4C1000, 0x8000, flags=PROT_RW | FILE)
    script.add(Operation.MAP, SHELL, 0x4C9000, 0x8000, flags=PROT_RW)
    script.add(Operation.MAP, SHELL, 0x7FFFF7DF9000, 0x200000, flags=PROT_RW)
    for page in (0x4C1, 0x4C2, 0x4C3, 0x4C4, 0x4C5, 0x4C6, 0x4C7, 0x4C8, 0x4CC, 0x4CD, 0x4CE, 0x4CF, 0x4D0):
        script.write(SHELL, page * PAGE)
    script.write(SHELL, STACK)
    script.write(SHELL, 0x7FFFF7DF9000)


def fork_child(script: Script, pid: int) -> None:
    """Fork; the parent breaks COW on its stack; the child runs until just before it exits or execs."""
    script.add(Operation.CLONE, SHELL, flags=FORK, peer=pid)
    script.write(SHELL, STACK)
    script.add(Operation.SWITCH_OUT, SHELL)
    script.add(Operation.SWITCH_IN, pid)
    script.write(pid, 0x4CE650)
    script.fetch(pid, 0x44C413)
    for address in (0x4CD0A8, 0x4C6140, 0x4CCB98, STACK):
        script.write(pid, address)
    script.fetch(pid, 0x401E60)


def end_child(script: Script, pid: int) -> None:
    """Exit; the parent goes on."""
    script.add(Operation.EXIT, pid)
    script.add(Operation.SWITCH_OUT, pid)
    script.add(Operation.SWITCH_IN, SHELL)
    script.write(SHELL, 0x4CECA8)


def fork_exit(script: Script) -> None:
    """50 times fork and exit."""
    for pid in range(CHILD, CHILD + 50):
        fork_child(script, pid)
        end_child(script, pid)


def fork_exec(script: Script) -> None:
    """50 times fork and exec of a tiny static program of one page."""
    for pid in range(CHILD, CHILD + 50):
        fork_child(script, pid)
        script.read(pid, 0x49751D)
        script.add(Operation.EXEC, pid)
        script.add(Operation.MAP, pid, 0x401000, PAGE, flags=PROT_RX | FILE)
        script.fetch(pid, 0x401000)
        end_child(script, pid)


def map_touch_unmap(script: Script, *, times: int, pages: int) -> None:
    """Map, write each page, unmap; small mappings lie beside another in the same 2 MiB."""
    start = 0x7FFFF7FB0000 if pages < 512 else ARENA
    for _ in range(times):
        script.add(Operation.MAP, SHELL, start, pages * PAGE, flags=PROT_RW)
        for page in range(pages):
            script.write(SHELL, start + page * PAGE)
        script.add(Operation.UNMAP, SHELL, start, pages * PAGE)


def mprotect(script: Script) -> None:
    """20 times read-only and writable again, 256 pages."""
    start = 0x7FFFF7E00000
    script.add(Operation.UNMAP, SHELL, 0x7FFFF7DF9000, 0x200000)
    script.add(Operation.MAP, SHELL, start - PAGE, 258 * PAGE, flags=PROT_RW)
    for page in range(256):
        script.write(SHELL, start + page * PAGE)
    for _ in range(20):
        script.add(Operation.PROTECT, SHELL, start, 256 * PAGE, flags=PROT_R)
        script.add(Operation.PROTECT, SHELL, start, 256 * PAGE, flags=PROT_RW)
    script.add(Operation.UNMAP, SHELL, start, 256 * PAGE)


def cow(script: Script) -> None:
    """512 written pages; 10 times fork, child and parent each write 128 of them."""
    start = ARENA
    script.add(Operation.MAP, SHELL, start, 512 * PAGE, flags=PROT_RW)
    for page in range(512):
        script.write(SHELL, start + page * PAGE)
    for pid in range(CHILD, CHILD + 10):
        fork_child(script, pid)
        for page in range(0, 512, 4):
            script.write(pid, start + page * PAGE)
        end_child(script, pid)
        for page in range(0, 512, 4):
            script.write(SHELL, start + page * PAGE)
    script.add(Operation.UNMAP, SHELL, start, 512 * PAGE)


def level_of(model: GuestModel, events: Events, position: int) -> int:
    """Return the level that the page of a live store had, from the newest LINK or from its place in the tree."""
    return int(model.state.frames["level"][int(events["address"][position]) >> 12])


def census(model: GuestModel, script: Script) -> Counter[str]:
    """Count live stores by level and instruction, and the other events, operation by operation."""
    counts: Counter[str] = Counter()
    for row in script.operations():
        part = Script()
        part.rows = [tuple(int(value) for value in row)]
        model_levels = model.state.frames["level"].copy()
        for chunk in model.feed(part.operations()):
            count_events(counts, chunk, model_levels)
        for chunk in model.finish():
            count_events(counts, chunk, model.state.frames["level"])
    return counts


def count_events(counts: Counter[str], events: Events, levels: object) -> None:
    """Add a chunk to a census."""
    for event in events:
        kind = Event(int(event["kind"]))
        if kind == Event.STORE and int(event["access"]) & Access.LIVE:
            level = int(levels[int(event["address"]) >> 12])  # type: ignore[index]
            counts[f"L{level} {Instruction(int(event['insn'])).name}"] += 1
        elif kind in (Event.CR3, Event.INVLPG, Event.GUEST_FAULT):
            counts[kind.name] += 1


def workload(name: str, script: Script) -> None:
    """Append the operations of a recorded workload."""
    sizes = {"mmap64": (100, 64), "mmap512": (20, 512), "mmap4096": (3, 4096)}
    if name in sizes:
        times, pages = sizes[name]
        map_touch_unmap(script, times=times, pages=pages)
    else:
        {"fork_exit": fork_exit, "fork_exec": fork_exec, "mprotect": mprotect, "cow": cow}[name](script)


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_stores_per_operation_are_those_of_a_real_guest(name: str) -> None:
    """Live stores by level and instruction, CR3 loads, INVLPG and faults are within 5 % of the recording."""
    model = new_model(small_guest())
    for _ in model.start():
        pass
    preparation = Script()
    set_up(preparation)
    if name != "fork_exit":
        fork_child(preparation, CHILD - 1)
        end_child(preparation, CHILD - 1)
    census(model, preparation)
    script = Script()
    script.now = preparation.now
    workload(name, script)

    counts = census(model, script)

    recorded = RECORDED[name]
    for key in sorted(set(recorded) | set(counts)):
        expected = recorded.get(key, 0)
        assert abs(counts[key] - expected) <= max(CLOSE * expected, 2), (key, expected, counts[key])
