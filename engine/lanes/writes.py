"""Stores in lanes: native where the spte is writable; else fault, and retry, or emulate and update the shadows."""

from typing import Final, NamedTuple

import numpy as np

from engine.detectors.flooding import flooding_lanes, repeating_lanes
from engine.detectors.misaligned import misaligned_lanes
from engine.detectors.retry import is_rep, is_tagged
from engine.jit import array_kernel as kernel
from engine.lanes.bits import ZERO, bit, lowest
from engine.lanes.counting import (
    C_DEAD_TABLE_WRITES,
    C_FLOOD_ZAPS,
    C_INSN_EMULATION,
    C_LOCK_ACQUISITIONS,
    C_MISALIGNED_ZAPS,
    C_MMU_FLOODED,
    C_MMU_PDE_ZAPPED,
    C_MMU_PTE_UPDATED,
    C_MMU_PTE_WRITE,
    C_PAGE_WALKS,
    C_PREFETCH_SKIPPED,
    C_REP_ITERATIONS,
    count,
    count_amount,
)
from engine.lanes.descs import top_up
from engine.lanes.faults import access, page_fault, prefetch_gpte, unprotect
from engine.lanes.memory import G_ACCESSED, G_PRESENT, read, table_of, walk_guest
from engine.lanes.pages import flush_remote, is_direct, make_pages_available, walk_chain, zap
from engine.lanes.rmap import drop, is_leaf_slot
from engine.lanes.roots import finish_exit
from engine.lanes.state import (
    FIRST_SLOT,
    K_LEVEL1,
    K_ORACLE,
    K_RECYCLE_IN_WRITE,
    K_REP_ZAP,
    K_RETRY,
    K_TOPUP_IN_WRITE,
    K_UPDATE,
    L_DONE,
    L_REP_LIMIT,
    NONE,
    PRESENT,
    SHADOWED,
    SIBLING,
    SM_INDIRECT,
    TABLE,
    V_DESC,
    V_RETRY_INSN,
    V_RETRY_PLACE,
    W_GFN,
    Lanes,
)

SETTLED: Final = 3
"""Stores to one gfn after which the 2011 detector, if nothing else happens, counts each further one."""


class Store(NamedTuple):
    """A guest store: `count` operands of `width` bytes from `gpa` on, each leaving `value` in its entry."""

    gva: np.uint64
    gpa: int
    value: np.uint64
    width: int
    count: int
    instruction: int
    live: bool


@kernel
def write_memory(st: Lanes, op: Store) -> None:
    """Leave the store's value in every entry that it covers; zeros where nothing was ever written change nothing."""
    if op.value == ZERO and st.frames[op.gpa >> 12, TABLE] == NONE:
        return
    table = table_of(st, op.gpa >> 12)
    first = (op.gpa & 4095) >> 3
    last = min(((op.gpa & 4095) + op.count * op.width - 1) >> 3, 511)
    for index in range(first, last + 1):
        st.tables[table, index] = op.value


@kernel
def store(st: Lanes, vcpu: int, op: Store, lanes: np.uint64) -> None:
    """Carry out a guest store."""
    pending = access(st, vcpu, op.gva, lanes, True)
    if not pending:
        write_memory(st, op)
        return
    for lane in range(64):
        st.lane[L_DONE, lane] = 0
    written = False
    first = True
    while pending:
        done, group = _least_done(st, op, pending)
        gva = op.gva + np.uint64(done * op.width)
        faults = group
        if not first:
            faults = access(st, vcpu, gva, group, True)
        first = False
        pending &= ~(group & ~faults)
        if not faults:
            continue
        if not walk_guest(st, vcpu, gva, True) or st.walk[W_GFN] != op.gpa >> 12:
            pending &= ~faults
            continue
        emulate, _ = page_fault(st, vcpu, gva, faults, True, not op.live)
        if not written:
            write_memory(st, op)
            written = True
        if emulate:
            _emulate(st, vcpu, op, done, emulate)
        finish_exit(st, faults)
        pending &= ~_finished(st, op, emulate)
    if not written:
        write_memory(st, op)


@kernel
def _least_done(st: Lanes, op: Store, pending: np.uint64) -> tuple[int, np.uint64]:
    """Return the fewest operands that any pending lane has stored, and the lanes that are there."""
    if op.count == 1:
        return 0, pending
    least, group, rest = np.int64(op.count), ZERO, pending
    while rest:
        lane = lowest(rest)
        rest &= ~bit(lane)
        done = st.lane[L_DONE, lane]
        if done < least:
            least, group = done, bit(lane)
        elif done == least:
            group |= bit(lane)
    return least, group


@kernel
def _finished(st: Lanes, op: Store, lanes: np.uint64) -> np.uint64:
    finished, rest = ZERO, lanes
    while rest:
        lane = lowest(rest)
        rest &= ~bit(lane)
        if st.lane[L_DONE, lane] >= op.count:
            finished |= bit(lane)
    return finished


@kernel
def _emulate(st: Lanes, vcpu: int, op: Store, done: int, lanes: np.uint64) -> None:
    """Decode the instruction and retry or emulate it, advancing L_DONE (x86_emulate_instruction)."""
    count(st, C_INSN_EMULATION, lanes)
    gfn = op.gpa >> 12
    rep = is_rep(op.instruction)
    rest = lanes
    zapping = lanes & st.knobs[K_REP_ZAP]
    retrying = lanes & st.knobs[K_RETRY]
    if rep and zapping:
        zapped = unprotect(st, gfn, zapping)
        rest &= ~zapped
        _set_retry(st, vcpu, zapped, NONE, NONE)
    if not is_tagged(op.instruction) and retrying & rest:
        place = np.int64(op.gva) + done * op.width
        again = _same_retry(st, vcpu, retrying & rest, place, op.instruction)
        first = retrying & rest & ~again
        _set_retry(st, vcpu, rest & ~first, NONE, NONE)
        _set_retry(st, vcpu, first, place, op.instruction)
        if first:
            unprotect(st, gfn, first)
        rest &= ~first
    else:
        _set_retry(st, vcpu, retrying & rest, NONE, NONE)
    if not rest:
        return
    if not rep:
        _set_done(st, rest, 1)
        count(st, C_PAGE_WALKS, rest)
        pte_write(st, vcpu, op.gpa + done * op.width, op.width, rest, op.live, True)
        return
    while rest:
        lane = lowest(rest)
        limit = st.lane[L_REP_LIMIT, lane]
        same, others = ZERO, rest
        while others:
            other = lowest(others)
            others &= ~bit(other)
            if st.lane[L_REP_LIMIT, other] == limit:
                same |= bit(other)
        rest &= ~same
        operands = (op.count - done) % limit
        if operands == 0:
            operands = limit
        _set_done(st, same, operands)
        count_amount(st, C_REP_ITERATIONS, same, operands)
        _iterate(st, vcpu, op, done, operands, same)


@kernel
def _iterate(st: Lanes, vcpu: int, op: Store, done: int, operands: int, lanes: np.uint64) -> None:
    """Emulate iterations of a rep store; once nothing shadows the page any more, count the rest at one go."""
    settled = 0
    for k in range(done, done + operands):
        left = done + operands - k
        if settled > SETTLED and left > 1:
            _count_idle(st, vcpu, op, lanes, left)
            return
        count(st, C_PAGE_WALKS, lanes)
        pte_write(st, vcpu, op.gpa + k * op.width, op.width, lanes, op.live, True)
        settled = 0 if _shadowed(st, op.gpa >> 12) & lanes else settled + 1


@kernel
def _shadowed(st: Lanes, gfn: int) -> np.uint64:
    """Return the lanes that have an indirect shadow page of a gfn."""
    lanes = ZERO
    slot = np.int64(st.frames[gfn, FIRST_SLOT])
    while slot != NONE:
        if not is_direct(st, slot):
            lanes |= st.masks[slot, SHADOWED]
        slot = st.pages[slot, SIBLING]
    return lanes


@kernel
def _count_idle(st: Lanes, vcpu: int, op: Store, lanes: np.uint64, times: int) -> None:
    """Count trapped stores that find no shadow page."""
    count_amount(st, C_PAGE_WALKS, lanes, times)
    lanes &= st.scalar_masks[SM_INDIRECT]
    count_amount(st, C_LOCK_ACQUISITIONS, lanes, times)
    count_amount(st, C_MMU_PTE_WRITE, lanes, times)
    if not op.live:
        count_amount(st, C_DEAD_TABLE_WRITES, lanes, times)
    walk_chain(st, op.gpa >> 12, lanes, times)
    repeating_lanes(st, vcpu, op.gpa >> 12, lanes, times)


@kernel
def _set_done(st: Lanes, lanes: np.uint64, operands: int) -> None:
    while lanes:
        lane = lowest(lanes)
        lanes &= ~bit(lane)
        st.lane[L_DONE, lane] += operands


@kernel
def _set_retry(st: Lanes, vcpu: int, lanes: np.uint64, place: int, instruction: int) -> None:
    while lanes:
        lane = lowest(lanes)
        lanes &= ~bit(lane)
        st.vcpu[vcpu, V_RETRY_PLACE, lane] = place
        st.vcpu[vcpu, V_RETRY_INSN, lane] = instruction


@kernel
def _same_retry(st: Lanes, vcpu: int, lanes: np.uint64, place: int, instruction: int) -> np.uint64:
    same = ZERO
    while lanes:
        lane = lowest(lanes)
        lanes &= ~bit(lane)
        if st.vcpu[vcpu, V_RETRY_PLACE, lane] == place and st.vcpu[vcpu, V_RETRY_INSN, lane] == instruction:
            same |= bit(lane)
    return same


@kernel
def pte_write(
    st: Lanes, vcpu: int, gpa: int, width: int, lanes: np.uint64, live: bool, by_guest: bool
) -> None:
    """Bring the shadows of a stored entry in line, or give them up (kvm_mmu_pte_write)."""
    lanes &= st.scalar_masks[SM_INDIRECT]
    if not lanes:
        return
    top_up(st, vcpu, lanes & st.knobs[K_TOPUP_IN_WRITE])
    count(st, C_LOCK_ACQUISITIONS, lanes)
    make_pages_available(st, lanes & st.knobs[K_RECYCLE_IN_WRITE])
    count(st, C_MMU_PTE_WRITE, lanes)
    if not live:
        count(st, C_DEAD_TABLE_WRITES, lanes)
    if width == 4:
        gpa, width = gpa & ~7, 8
    gfn, offset = gpa >> 12, gpa & 4095
    gentry = read(st, gfn, offset >> 3) if width == 8 else ZERO
    repeats = repeating_lanes(st, vcpu, gfn, lanes, 1) if by_guest else ZERO
    walk_chain(st, gfn, lanes, 1)
    misaligned = misaligned_lanes(st, offset, width) & lanes
    flush = ZERO
    slot = np.int64(st.frames[gfn, FIRST_SLOT])
    while slot != NONE:
        shadowed = st.masks[slot, SHADOWED] & lanes
        if shadowed and not is_direct(st, slot):
            flush |= _write_page(st, vcpu, slot, offset >> 3, shadowed, misaligned, repeats, by_guest, gentry)
        slot = st.pages[slot, SIBLING]
    flush_remote(st, flush)


@kernel
def _write_page(
    st: Lanes,
    vcpu: int,
    slot: int,
    index: int,
    shadowed: np.uint64,
    misaligned: np.uint64,
    repeats: np.uint64,
    by_guest: bool,
    gentry: np.uint64,
) -> np.uint64:
    """Zap a written shadow page or update its entry; return the lanes that must flush."""
    bad = shadowed & misaligned
    if bad:
        count(st, C_MISALIGNED_ZAPS, bad)
        count(st, C_MMU_FLOODED, bad)
        zap(st, slot, bad)
    rest = shadowed & ~bad
    flooded = ZERO
    if by_guest and rest:
        flooded = rest & repeats & ~st.knobs[K_ORACLE]
        if is_leaf_slot(st, slot):
            flooded &= st.knobs[K_LEVEL1]
        flooded |= flooding_lanes(st, slot, index, rest)
        if flooded:
            count(st, C_FLOOD_ZAPS, flooded)
            count(st, C_MMU_FLOODED, flooded)
            zap(st, slot, flooded)
            rest &= ~flooded
    present = st.sptes[PRESENT, slot, index] & rest
    if present:
        drop(st, slot, index, present)
    if gentry and rest:
        if not is_leaf_slot(st, slot):
            count(st, C_MMU_PDE_ZAPPED, rest)
        elif rest & st.knobs[K_UPDATE]:
            _update(st, vcpu, slot, index, rest & st.knobs[K_UPDATE], gentry)
    return bad | flooded | present


@kernel
def _update(st: Lanes, vcpu: int, slot: int, index: int, lanes: np.uint64, gentry: np.uint64) -> None:
    """Install the written spte anew, unless the policy checks the pte_list_desc cache and it is empty."""
    count(st, C_MMU_PTE_UPDATED, lanes)
    skipped, rest = ZERO, lanes & st.knobs[K_TOPUP_IN_WRITE]
    while rest:
        lane = lowest(rest)
        rest &= ~bit(lane)
        if not st.vcpu[vcpu, V_DESC, lane]:
            skipped |= bit(lane)
    if lanes & ~skipped:
        prefetch_gpte(st, vcpu, slot, index, lanes & ~skipped)
    if gentry & G_PRESENT and gentry & G_ACCESSED:
        count(st, C_PREFETCH_SKIPPED, skipped)
