"""The reference model of a shadow MMU: slow, plain, and what the lane kernel must equal in every counter."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engine.checks import EventChecks
from engine.events import DIRECT_MAP_BASE, Events
from engine.guests import Guest
from engine.policies.contract import Policy
from engine.reference.faults import Outcome, page_fault, use_spte
from engine.reference.invlpg import inject_fault, invalidate_page
from engine.reference.mmu import new_mmu
from engine.reference.roots import finish_exit, flush_all, load_cr3
from engine.reference.state import Vcpu, Walk
from engine.reference.walk import find_spte, walk_guest
from engine.reference.writes import Store, store, write_memory
from engine.vocabulary import COUNTER_NAMES, Access, Activity, Event, Instruction

_ACTIVITIES = tuple(Activity)
_WRITE, _USER_VA, _LIVE = int(Access.WRITE), int(Access.USER_VA), int(Access.LIVE)
"""As plain numbers: an operation on flags takes ten times as long."""


class ReferenceMmu:
    """One policy over one trace. `feed` may be called with any cut of the trace into arrays."""

    def __init__(self, policy: Policy, guest: Guest, *, keep_log: bool = False) -> None:
        self.mmu = new_mmu(policy, guest, keep_log=keep_log)
        self._checks = EventChecks(guest)
        self.windows: list[dict[str, int]] = []

    @property
    def log(self) -> list[tuple[int, str, int, int, int]]:
        """Reactions in order: (event, what, gfn or virtual page, level, access | direct << 3)."""
        return self.mmu.log or []

    def feed(self, events: Events) -> None:
        """Advance by events of dtype EVENT.

        Raises:
            ValueError: an event that this guest cannot make; none of the array is carried out.
        """
        self._checks.check(events)
        for row in events.tolist():
            self._step(*row)

    def counters(self) -> npt.NDArray[np.int64]:
        """Return the counters so far in the order of COUNTERS."""
        return np.array(list(self.mmu.counters().values()), dtype=np.int64)

    def activities(self) -> npt.NDArray[np.int64]:
        """Return counters[activity, counter] so far, in the order of Activity and COUNTERS."""
        rows = [[self.mmu.activities[activity][name] for name in COUNTER_NAMES] for activity in Activity]
        return np.array(rows, dtype=np.int64)

    def _step(
        self,
        address: int,
        value: int,
        kind: int,
        vcpu_index: int,
        insn: int,
        width: int,
        access: int,
        activity: int,
        count: int,
    ) -> None:
        mmu, vcpu = self.mmu, self.mmu.vcpus[vcpu_index]
        mmu.counted = mmu.activities[_ACTIVITIES[activity] if activity < len(_ACTIVITIES) else Activity.NONE]
        if kind == Event.STORE:
            self._store(vcpu, address, value, width, count, insn, access)
        elif kind == Event.TOUCH:
            self._touch(vcpu, address, access)
        elif kind == Event.RUN:
            mmu.count("guest_run_ns", value)
        elif kind == Event.WINDOW:
            self.windows.append(mmu.counters())
        elif kind == Event.CONTENT:
            mmu.memory.write(address >> 12, (address & 4095) >> 3, value)
        elif kind == Event.LINK:
            mmu.memory.clear(address >> 12)
        elif kind == Event.CR3:
            self._load_cr3(vcpu, value)
        elif mmu.policy.knobs.shadow:
            self._exit(vcpu, kind, address)
        mmu.event += 1

    def _load_cr3(self, vcpu: Vcpu, value: int) -> None:
        gfn = value >> 12
        if self.mmu.policy.knobs.shadow:
            load_cr3(self.mmu, vcpu, gfn)
        else:
            vcpu.cr3_gfn = gfn
            self.mmu.count("cr3_loads")

    def _exit(self, vcpu: Vcpu, kind: int, address: int) -> None:
        mmu = self.mmu
        if kind == Event.GUEST_FAULT:
            inject_fault(mmu, vcpu, address)
        elif kind == Event.INVLPG:
            invalidate_page(mmu, vcpu, address)
        elif kind == Event.FLUSH_ALL:
            flush_all(mmu, vcpu)

    def _touch(self, vcpu: Vcpu, gva: int, access: int) -> None:
        """Access a page, or note the address that a store will go through."""
        mmu = self.mmu
        mmu.count("guest_touches")
        write = bool(access & _WRITE)
        walk = walk_guest(mmu, vcpu, gva, write=write)
        if walk is None:
            return
        if write:
            vcpu.store_va, vcpu.store_gfn = gva, walk.gfn
        if not mmu.policy.knobs.shadow or access & _USER_VA:
            return
        if not write:
            self._read(vcpu, walk)
            return
        gpa = walk.gfn << 12 | gva & 4088
        value = mmu.memory.read(walk.gfn, (gpa & 4095) >> 3)
        touched = Store(gva=gva & ~7, gpa=gpa, value=value, width=8, count=1, instruction=Instruction.MOV, live=True)
        store(mmu, vcpu, touched)

    def _read(self, vcpu: Vcpu, walk: Walk) -> None:
        mmu = self.mmu
        outcome = Outcome.RETRY
        while outcome is Outcome.RETRY:
            spte = find_spte(vcpu, walk.gva)
            if spte is not None:
                use_spte(mmu, spte, write=False)
                return
            outcome = page_fault(mmu, vcpu, walk, write=False)
            finish_exit(mmu)

    def _store(self, vcpu: Vcpu, gpa: int, value: int, width: int, count: int, insn: int, access: int) -> None:
        mmu = self.mmu
        gfn = gpa >> 12
        mmu.count("guest_stores", count)
        page = DIRECT_MAP_BASE + (gfn << 12)
        if access & _USER_VA and vcpu.store_gfn == gfn and vcpu.store_va is not None:
            page = vcpu.store_va & ~4095
        op = Store(
            gva=page | gpa & 4095,
            gpa=gpa,
            value=value,
            width=width,
            count=count,
            instruction=Instruction(insn),
            live=bool(access & _LIVE),
        )
        if mmu.policy.knobs.shadow:
            store(mmu, vcpu, op)
        else:
            write_memory(mmu, op)


def run_reference(policies: Sequence[Policy], guest: Guest, events: Events) -> npt.NDArray[np.int64]:
    """Return counters[policy, counter] of a whole trace, one policy after the other."""
    rows = []
    for policy in policies:
        machine = ReferenceMmu(policy, guest)
        machine.feed(events)
        rows.append(machine.counters())
    return np.stack(rows)
