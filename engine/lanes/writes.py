"""Stores in lanes: native where the spte is writable; else fault, and retry or emulate."""

import numpy as np

from engine.detectors.retry import is_rep, is_tagged
from engine.jit import array_kernel as kernel
from engine.lanes.bits import ZERO, bit, lowest
from engine.lanes.counting import C_INSN_EMULATION, C_PAGE_WALKS, C_REP_ITERATIONS, count, count_amount
from engine.lanes.faults import page_fault, unprotect
from engine.lanes.memory import table_of, walk_guest
from engine.lanes.paths import access
from engine.lanes.pte_write import Store, iterate, pte_write
from engine.lanes.roots import finish_exit
from engine.lanes.state import (
    K_REP_ZAP,
    K_RETRY,
    L_DONE,
    L_REP_LIMIT,
    NONE,
    RM_RETRIED,
    TABLE,
    V_RETRY_INSN,
    V_RETRY_PLACE,
    W_GFN,
    Lanes,
)


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
    faults = access(st, vcpu, op.gva, lanes, True)
    pending, group, done = faults, faults, np.int64(0)
    written = False
    if op.count > 1 and faults:
        for lane in range(64):
            st.lane[L_DONE, lane] = 0
    while pending:
        gva = op.gva + np.uint64(done * op.width)
        if written:
            faults = access(st, vcpu, gva, group, True)
            pending &= ~(group & ~faults)
        if faults:
            if not walk_guest(st, vcpu, gva, True) or st.walk[W_GFN] != op.gpa >> 12:
                pending &= ~faults
            else:
                emulate, _ = page_fault(st, vcpu, gva, faults, True, not op.live and not written)
                if not written:
                    write_memory(st, op)
                    written = True
                if emulate:
                    pending &= ~_emulate(st, vcpu, op, done, emulate)
                finish_exit(st, faults)
        done, group = _least_done(st, op, pending)
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
def _finished(st: Lanes, op: Store, lanes: np.uint64, operands: int) -> np.uint64:
    """Advance lanes by so many operands; return those that have stored all."""
    if op.count == 1:
        return lanes
    finished, rest = ZERO, lanes
    while rest:
        lane = lowest(rest)
        rest &= ~bit(lane)
        st.lane[L_DONE, lane] += operands
        if st.lane[L_DONE, lane] >= op.count:
            finished |= bit(lane)
    return finished


@kernel
def _retries(st: Lanes, vcpu: int, op: Store, done: int, lanes: np.uint64) -> np.uint64:
    """Zap the page where the policy retries the instruction; return these lanes (retry_instruction).

    An instruction that comes back to the same address at once is not retried again.
    """
    asked = ZERO
    if is_rep(op.instruction):
        asked |= st.knobs[K_REP_ZAP]
    if not is_tagged(op.instruction):
        asked |= st.knobs[K_RETRY]
    first = lanes & asked
    if first:
        place = np.int64(op.gva) + done * op.width
        first &= ~_same_retry(st, vcpu, first & st.root_masks[vcpu, RM_RETRIED], place, op.instruction)
        _remember_retry(st, vcpu, first, place, op.instruction)
        if first:
            unprotect(st, op.gpa >> 12, first)
    st.root_masks[vcpu, RM_RETRIED] = (st.root_masks[vcpu, RM_RETRIED] & ~lanes) | first
    return first


@kernel
def _emulate(st: Lanes, vcpu: int, op: Store, done: int, lanes: np.uint64) -> np.uint64:
    """Decode the instruction, retry or emulate it; return the lanes that have stored all (x86_emulate_instruction)."""
    count(st, C_INSN_EMULATION, lanes)
    rest = lanes & ~_retries(st, vcpu, op, done, lanes)
    if not is_rep(op.instruction):
        if rest:
            count(st, C_PAGE_WALKS, rest)
            pte_write(st, vcpu, op.gpa + done * op.width, op.width, rest, op.live, True)
        return _finished(st, op, rest, 1)
    finished = ZERO
    while rest:
        same, limit = _same_limit(st, rest)
        rest &= ~same
        operands = (op.count - done) % limit
        if operands == 0:
            operands = limit
        count_amount(st, C_REP_ITERATIONS, same, operands)
        iterate(st, vcpu, op, done, operands, same)
        finished |= _finished(st, op, same, operands)
    return finished


@kernel
def _same_limit(st: Lanes, lanes: np.uint64) -> tuple[np.uint64, int]:
    """Return the lanes that emulate as many iterations at one exit as the lowest one, and how many that is."""
    limit, same = st.lane[L_REP_LIMIT, lowest(lanes)], ZERO
    while lanes:
        lane = lowest(lanes)
        lanes &= ~bit(lane)
        if st.lane[L_REP_LIMIT, lane] == limit:
            same |= bit(lane)
    return same, limit


@kernel
def _remember_retry(st: Lanes, vcpu: int, lanes: np.uint64, place: int, instruction: int) -> None:
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
