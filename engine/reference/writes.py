"""The reference's stores: native where the spte is writable; else fault, and retry or emulate."""

from dataclasses import dataclass
from typing import Final

from engine.reference.faults import Outcome, page_fault, prefetch_gpte, unprotect, use_spte
from engine.reference.flooding import floods_page, floods_spte, repeats_on_vcpu
from engine.reference.misaligned import is_misaligned
from engine.reference.mmu import (
    Mmu,
    drop_spte,
    flush_remote,
    indirect_pages_of,
    make_pages_available,
    top_up,
    zap_page,
)
from engine.reference.retry import REP, TAGGED
from engine.reference.roots import finish_exit
from engine.reference.state import ACCESSED, PRESENT, ShadowPage, Vcpu
from engine.reference.walk import find_spte, walk_guest
from engine.vocabulary import Instruction

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
    mmu.memory.fill(op.gfn, first, min(last, 511), op.value)


def _emulate(mmu: Mmu, vcpu: Vcpu, op: Store, done: int) -> int:
    """Decode the instruction, retry or emulate it; return the operands that were stored (x86_emulate_instruction)."""
    knobs = mmu.policy.knobs
    mmu.count("insn_emulation")
    mmu.note_at("emulation", op.gva >> 12)
    is_rep = op.instruction in REP
    last_retry, vcpu.last_retry = vcpu.last_retry, None
    retries = (knobs.rep_string_zap and is_rep) or (knobs.retry_untagged and op.instruction not in TAGGED)
    place = (int(op.instruction), op.gva + done * op.width)
    if retries and place != last_retry:
        vcpu.last_retry = place
        unprotect(mmu, op.gfn)
        return 0
    operands = 1
    if is_rep:
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
    if width == 4:
        gpa, width = gpa & ~7, 8
    gfn, offset = gpa >> 12, gpa & 4095
    mmu.note_at("pte_write", gfn)
    gentry = mmu.memory.read(gfn, offset >> 3) if width == 8 else 0
    repeats = False
    if by_guest and knobs.flood_scope == "vcpu":
        repeats = repeats_on_vcpu(vcpu, gfn, accessed_exception=knobs.flood_accessed_exception)
        repeats = repeats and 0 < knobs.flood_threshold <= vcpu.last_write_count
    misaligned = is_misaligned(knobs.misaligned, offset=offset, width=width)
    flush = False
    for page in indirect_pages_of(mmu, gfn):
        if page.invalid:
            continue
        if misaligned:
            mmu.count("misaligned_zaps")
            _give_up(mmu, page, "misaligned")
            flush = True
        elif by_guest and _floods(mmu, page, offset >> 3, repeats=repeats):
            mmu.count("flood_zaps")
            _give_up(mmu, page, "flood")
            flush = True
        else:
            flush |= _update(mmu, vcpu, page, offset >> 3, gentry)
    if flush:
        flush_remote(mmu)


def _give_up(mmu: Mmu, page: ShadowPage, reason: str) -> None:
    mmu.count("mmu_flooded")
    zap_page(mmu, page, reason)


def _floods(mmu: Mmu, page: ShadowPage, index: int, *, repeats: bool) -> bool:
    """Ask the detector that the policy has whether this store floods the page."""
    knobs = mmu.policy.knobs
    if knobs.oracle:
        return False
    if knobs.flood_scope == "vcpu":
        return repeats and (page.role.level > 1 or knobs.flood_level1)
    if knobs.flood_scope == "page":
        return floods_page(page, threshold=knobs.flood_threshold, level1=knobs.flood_level1)
    spte = page.sptes.get(index)
    return floods_spte(page, spte, threshold=knobs.flood_threshold, level1=knobs.flood_level1)


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
        elif gentry & PRESENT and gentry & ACCESSED:
            mmu.count("prefetch_skipped")
    return present
