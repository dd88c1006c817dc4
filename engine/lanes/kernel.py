"""The event loop: each event advances all lanes."""

from typing import Final

import numpy as np

from engine.events import DIRECT_MAP_BASE, Events
from engine.jit import array_kernel as kernel
from engine.lanes.bits import ZERO
from engine.lanes.counting import C_CR3_LOADS, C_GUEST_RUN_NS, C_GUEST_STORES, C_GUEST_TOUCHES, count, count_amount
from engine.lanes.faults import page_fault
from engine.lanes.invlpg import inject_fault, invalidate_page
from engine.lanes.memory import PAGE_BITS, read, table_of, walk_guest
from engine.lanes.paths import access
from engine.lanes.pte_write import Store
from engine.lanes.roots import finish_exit, flush_all, load_cr3
from engine.lanes.slots import free_deferred
from engine.lanes.state import (
    ACTIVITIES,
    K_ALL,
    K_SHADOW,
    ODD_ENTRIES,
    R_CR3,
    R_STORE_GFN,
    R_STORE_VA,
    S_ACTIVITY,
    S_DEFERRED,
    S_FREE_SLOTS,
    S_ODD,
    S_TABLES,
    TABLES,
    W_GFN,
    Lanes,
)
from engine.lanes.writes import store, write_memory
from engine.vocabulary import Access, Activity, Event, Instruction

DONE: Final = 0
WINDOW: Final = 1
SLOTS_EXHAUSTED: Final = 2
TABLES_EXHAUSTED: Final = 3
ODD_EXHAUSTED: Final = 4
SLOTS_PER_EVENT: Final = 64
"""Free slots that must be there before an event: each vCPU may have to build a way down in several roles."""
ODD_PER_EVENT: Final = 1 << 16

_STORE: Final = int(Event.STORE)
_TOUCH: Final = int(Event.TOUCH)
_GUEST_FAULT: Final = int(Event.GUEST_FAULT)
_CR3: Final = int(Event.CR3)
_INVLPG: Final = int(Event.INVLPG)
_FLUSH_ALL: Final = int(Event.FLUSH_ALL)
_CONTENT: Final = int(Event.CONTENT)
_LINK: Final = int(Event.LINK)
_RUN: Final = int(Event.RUN)
_WINDOW: Final = int(Event.WINDOW)
_WRITE: Final = int(Access.WRITE)
_LIVE: Final = int(Access.LIVE)
_USER_VA: Final = int(Access.USER_VA)
_NOTHING: Final = int(Activity.NONE)
_MOV: Final = int(Instruction.MOV)
_BASE: Final = np.uint64(DIRECT_MAP_BASE)
_OFFSET: Final = np.uint64(4095)
_WORD: Final = np.uint64(7)


@kernel
def room(st: Lanes) -> int:
    """Return DONE if there is room for any one event, or what is exhausted."""
    if st.scalars[S_FREE_SLOTS] < SLOTS_PER_EVENT:
        return SLOTS_EXHAUSTED
    if st.scalars[S_TABLES] + 2 > TABLES:
        return TABLES_EXHAUSTED
    if st.scalars[S_ODD] + ODD_PER_EVENT > ODD_ENTRIES:
        return ODD_EXHAUSTED
    return DONE


@kernel
def advance(st: Lanes, events: Events, start: int) -> tuple[int, int]:
    """Advance all lanes from event `start` on; stop after a WINDOW, or before an event for which there is no room.

    The events have passed `EventChecks`: what they name exists.
    Returns the number of the next event and why it stopped: DONE, WINDOW or what is exhausted.
    """
    for i in range(start, events.shape[0]):
        why = room(st)
        if why != DONE:
            return i, why
        event = events[i]
        kind = event.kind
        st.scalars[S_ACTIVITY] = event.activity if event.activity < ACTIVITIES else _NOTHING
        if kind == _STORE:
            _store(st, event.vcpu, event.address, event.value, event.width, event.insn, event.access, event.count)
        elif kind == _TOUCH:
            _touch(st, event.vcpu, event.address, event.access)
        elif kind == _RUN:
            count_amount(st, C_GUEST_RUN_NS, st.knobs[K_ALL], np.int64(event.value))
        elif kind == _WINDOW:
            return i + 1, WINDOW
        else:
            _rare(st, event.vcpu, kind, event.address, event.value)
        if st.scalars[S_DEFERRED]:
            free_deferred(st)
    return events.shape[0], DONE


@kernel
def _rare(st: Lanes, vcpu: int, kind: int, address: np.uint64, value: np.uint64) -> None:
    lanes = st.knobs[K_SHADOW]
    if kind == _GUEST_FAULT:
        inject_fault(st, vcpu, address, lanes)
    elif kind == _INVLPG:
        invalidate_page(st, vcpu, address, lanes)
    elif kind == _FLUSH_ALL:
        flush_all(st, vcpu, lanes)
    elif kind == _CR3:
        gfn = np.int64(value >> PAGE_BITS)
        count(st, C_CR3_LOADS, st.knobs[K_ALL] & ~lanes)
        if lanes:
            load_cr3(st, vcpu, gfn, lanes)
        else:
            st.roots[vcpu, R_CR3] = gfn
    else:
        table = table_of(st, np.int64(address >> PAGE_BITS))
        if kind == _LINK:
            st.tables[table] = ZERO
        elif kind == _CONTENT:
            st.tables[table, np.int64(address & _OFFSET) >> 3] = value


@kernel
def _touch(st: Lanes, vcpu: int, gva: np.uint64, how: int) -> None:
    count(st, C_GUEST_TOUCHES, st.knobs[K_ALL])
    write = how & _WRITE != 0
    if not walk_guest(st, vcpu, gva, write):
        return
    gfn = st.walk[W_GFN]
    if write:
        st.roots[vcpu, R_STORE_VA], st.roots[vcpu, R_STORE_GFN] = np.int64(gva), gfn
    lanes = st.knobs[K_SHADOW]
    if how & _USER_VA or not lanes:
        return
    if write:
        gpa = gfn << 12 | np.int64(gva & (_OFFSET & ~_WORD))
        value = read(st, gfn, (gpa & 4095) >> 3)
        store(st, vcpu, Store(gva & ~_WORD, gpa, value, 8, 1, _MOV, True), lanes)
        return
    pending = lanes
    while pending:
        faults = access(st, vcpu, gva, pending, False)
        if not faults:
            return
        walk_guest(st, vcpu, gva, False)
        _, pending = page_fault(st, vcpu, gva, faults, False, False)
        finish_exit(st, faults)


@kernel
def _store(
    st: Lanes,
    vcpu: int,
    address: np.uint64,
    value: np.uint64,
    width: int,
    instruction: int,
    how: int,
    operands: int,
) -> None:
    gpa = np.int64(address)
    gfn = gpa >> 12
    count_amount(st, C_GUEST_STORES, st.knobs[K_ALL], operands)
    page = _BASE + np.uint64(gfn << 12)
    if how & _USER_VA and st.roots[vcpu, R_STORE_GFN] == gfn:
        page = np.uint64(st.roots[vcpu, R_STORE_VA]) & ~_OFFSET
    op = Store(
        page | (address & _OFFSET),
        gpa,
        value,
        np.int64(width),
        np.int64(operands),
        np.int64(instruction),
        how & _LIVE != 0,
    )
    if st.knobs[K_SHADOW]:
        store(st, vcpu, op, st.knobs[K_SHADOW])
    else:
        write_memory(st, op)
