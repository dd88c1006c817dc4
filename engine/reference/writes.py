"""The reference's stores: native where the spte is writable; else fault, and retry or emulate."""

from dataclasses import dataclass
from typing import Final

from engine import x86
from engine.reference.faults import Outcome, page_fault, prefetch_gpte, unprotect, use_spte
from engine.reference.mmu import (
    Mmu,
    drop_spte,
    flush_remote,
    indirect_pages_of,
    make_pages_available,
    top_up,
    zap_page,
)
from engine.reference.roots import finish_exit
from engine.reference.state import MODE, ShadowPage, Vcpu, Written
from engine.reference.walk import find_spte, walk_guest
from engine.vocabulary import Instruction

REP: Final = frozenset({Instruction.REP_STOS, Instruction.REP_MOVS})
"""Instructions that the emulator repeats at one exit."""
FAULTS_MAXIMUM: Final = 8
"""Faults that one operand may take before the model itself is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A guest store: `count` operands of `width` bytes from `gpa` on, each leaving `value` in its entry."""

    gva: int
    gpa: int
    value: int
    width: int
    count: int
    instruction: Instruction
    live: bool

    @property
    def gfn(self) -> int:
        """Frame of the stored page."""
        return self.gpa >> 12


def store(mmu: Mmu, vcpu: Vcpu, op: Store) -> None:
    """Carry out a guest store."""
    done, faults, written = 0, 0, False
    while done < op.count:
        gva = op.gva + done * op.width
        spte = find_spte(vcpu, gva)
        if spte is not None and spte.writable:
            use_spte(mmu, spte, write=True)
            break
        walk = walk_guest(mmu, vcpu, gva, write=True)
        if walk is None or walk.gfn != op.gfn:
            break
        faults += 1
        assert faults < FAULTS_MAXIMUM * op.count, "a store faults for ever"
        outcome = page_fault(mmu, vcpu, walk, write=True, dead=not op.live and not written)
        if not written:
            write_memory(mmu, op)
            written = True
        if outcome is Outcome.EMULATE:
            done += _emulate(mmu, vcpu, op, done)
        finish_exit(mmu)
    if not written:
        write_memory(mmu, op)


def write_memory(mmu: Mmu, op: Store) -> None:
    """Leave the store's value in every entry that it covers."""
    first = (op.gpa & 4095) >> 3
    last = ((op.gpa & 4095) + op.count * op.width - 1) >> 3
    mmu.memory.fill(op.gfn, first, min(last, MODE.entries - 1), op.value)


def _emulate(mmu: Mmu, vcpu: Vcpu, op: Store, done: int) -> int:
    """Decode the instruction, retry or emulate it; return the operands that were stored (x86_emulate_instruction)."""
    knobs = mmu.policy.knobs
    mmu.count("insn_emulation")
    mmu.note_at("emulation", op.gva >> 12)
    gva = op.gva + done * op.width
    if any(mechanism.on_trap(vcpu, gva, op.instruction) for mechanism in mmu.mechanisms):
        unprotect(mmu, op.gfn)
        return 0
    operands = 1
    if op.instruction in REP:
        operands = (op.count - done) % knobs.rep_limit or knobs.rep_limit
        mmu.count("rep_iterations", operands)
    for k in range(done, done + operands):
        mmu.count("page_walks")
        pte_write(mmu, vcpu, op.gpa + k * op.width, op.width, live=op.live)
    return operands


def pte_write(mmu: Mmu, vcpu: Vcpu, gpa: int, width: int, *, live: bool = True, by_guest: bool = True) -> None:
    """Bring the shadows of a stored entry in line, or give them up (kvm_mmu_pte_write)."""
    if not mmu.indirect_pages:
        return
    knobs = mmu.policy.knobs
    if knobs.desc_topup_in_pte_write:
        top_up(mmu, vcpu)
    mmu.count("lock_acquisitions")
    if knobs.recycle_in_pte_write:
        make_pages_available(mmu)
    mmu.count("mmu_pte_write")
    if not live:
        mmu.count("dead_table_writes")
    written = _written(gpa, width, by_guest=by_guest)
    mmu.note_at("pte_write", written.gfn)
    gentry = mmu.memory.read(written.gfn, written.index) if written.width == 8 else 0
    if by_guest:
        for mechanism in mmu.mechanisms:
            mechanism.on_write(vcpu, written)
    flush = False
    for page in indirect_pages_of(mmu, written.gfn):
        if page.invalid:
            continue
        giving_up = next((one for one in mmu.mechanisms if one.gives_up(page, written)), None)
        if giving_up is not None:
            zap_page(mmu, page, giving_up.reason)
            flush = True
        else:
            flush |= _update(mmu, vcpu, page, written.index, gentry)
    if flush:
        flush_remote(mmu)


def _written(gpa: int, width: int, *, by_guest: bool) -> Written:
    """Describe a store; a 32-bit half of an entry is read again as a whole (mmu_pte_write_fetch_gpte)."""
    start, size = (gpa & ~7, 8) if width == 4 else (gpa, width)
    return Written(
        gfn=gpa >> 12,
        index=(gpa & 4095) >> 3,
        offset=start & 4095,
        width=size,
        stored_offset=gpa & 4095,
        stored_width=width,
        by_guest=by_guest,
    )


def _update(mmu: Mmu, vcpu: Vcpu, page: ShadowPage, index: int, gentry: int) -> bool:
    """Drop the written spte and, where the policy does so, install it anew; True if it was present."""
    knobs = mmu.policy.knobs
    present = drop_spte(mmu, page, index)
    if not gentry:
        return present
    if page.role.level > 1:
        mmu.count("mmu_pde_zapped")
    elif knobs.update_written_spte:
        mmu.count("mmu_pte_updated")
        if not knobs.desc_topup_in_pte_write or vcpu.desc_objects:
            prefetch_gpte(mmu, vcpu, page, index)
        elif gentry & x86.PRESENT and gentry & x86.ACCESSED:
            mmu.count("prefetch_skipped")
    return present
