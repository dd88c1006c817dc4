"""Write small sequences of process operations for tests of the guest model."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.core.guest.model import GuestModel
from engine.events import EVENT, Events
from engine.guests import Guest
from engine.operations import OPERATION, Operations
from engine.vocabulary import Activity, Event, Instruction, Operation

PAGE = 4096
USER_READ, USER_WRITE, USER_FETCH = 4, 6, 0x14
SHELL, CHILD = 100, 200
FORK = 0x1200000
VFORK = 0x4100
PROT_RW, PROT_RX, PROT_R = 3, 5, 1
FILE = 32


class Script:
    """Operations of one trace, a microsecond apart unless time is moved on."""

    def __init__(self) -> None:
        """Start empty at time 0."""
        self.rows: list[tuple[int, ...]] = []
        self.now = 0

    def add(
        self,
        kind: Operation,
        pid: int,
        address: int = 0,
        length: int = 0,
        *,
        flags: int = 0,
        peer: int = 0,
        vcpu: int = 0,
        comm: int = 0,
        after_ns: int = 1000,
    ) -> None:
        """Append one operation."""
        self.now += after_ns
        self.rows.append((self.now, address, length, pid, peer, flags, int(kind), vcpu, comm))

    def read(self, pid: int, address: int) -> None:
        """Append a read fault."""
        self.add(Operation.FAULT, pid, address, flags=USER_READ)

    def write(self, pid: int, address: int) -> None:
        """Append a write fault."""
        self.add(Operation.FAULT, pid, address, flags=USER_WRITE)

    def fetch(self, pid: int, address: int) -> None:
        """Append a fetch fault."""
        self.add(Operation.FAULT, pid, address, flags=USER_FETCH)

    def operations(self) -> Operations:
        """Return the operations as an array."""
        return np.array(self.rows, OPERATION)


def small_guest(**fields: Any) -> Guest:
    """Return a guest of 128 MiB with one vCPU, as in the recordings, unless told otherwise."""
    return Guest(**({"vcpus": 1, "memory_mib": 128} | fields))


def new_model(guest: Guest, parameters: Mapping[str, Any] | None = None, *, seed: int = 1) -> GuestModel:
    """Return a model with small arrays."""
    knobs = {"max_processes": 64, "chunk_events": 1 << 15} | dict(parameters or {})
    return GuestModel(guest, seed=seed, window_ns=10_000_000, parameters=knobs)


def play(model: GuestModel, script: Script, *, start: bool = True) -> Events:
    """Run a script to its end and return all events."""
    parts = [chunk.copy() for chunk in model.start()] if start else []
    parts += [chunk.copy() for chunk in model.feed(script.operations())]
    parts += [chunk.copy() for chunk in model.finish()]
    return np.concatenate(parts) if parts else np.zeros(0, EVENT)


DATA = 0x10000000


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
