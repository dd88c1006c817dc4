/*
 * Zap a shadow page and retry when the storing instruction is none that writes page tables.
 *
 * Source: retry_instruction and the PageTable tag of the opcode table, Linux 3.6 and 6.1 arch/x86/kvm/{x86,emulate}.c;
 * commit 1cb3f3ae5a38. `rep_string_zap` is the second change of the first version of that series, which looked at the
 * repeat prefix only.
 */
#pragma once

#include "../faults.h"
#include "../state.h"

/* Whether Linux tags a class of instructions as page-table writes. A user-mode store is a mov unless its class says so. */
INLINE bool is_tagged(int instruction)
{
	switch (instruction) {
	case INSTRUCTION_MOV:
	case INSTRUCTION_XCHG:
	case INSTRUCTION_CMPXCHG:
	case INSTRUCTION_LOCK_AND:
	case INSTRUCTION_LOCK_OR:
	case INSTRUCTION_LOCK_BTS:
	case INSTRUCTION_USER:
		return true;
	default:
		return false;
	}
}

/* Whether a class of instructions has a repeat prefix. */
INLINE bool is_rep(int instruction)
{
	return instruction == INSTRUCTION_REP_STOS || instruction == INSTRUCTION_REP_MOVS;
}

/* The lanes whose last retry was of this instruction at this place: it is not retried again (last_retry_eip). */
INLINE lanes_t same_retry(const struct vcpu *vcpu, lanes_t lanes, int64_t place, int instruction)
{
	lanes_t same = 0;

	FOR_EACH_LANE(lane, lanes & vcpu->retried)
		if (vcpu->retry_place[lane] == place && vcpu->retry_instruction[lane] == instruction)
			same |= bit(lane);
	return same;
}

/* Zap the written page where the policy retries the instruction at `gva`; these lanes (retry_instruction). */
static lanes_t retrying_lanes(struct machine *m, struct vcpu *vcpu, int64_t gfn, uint64_t gva, int instruction,
			      lanes_t lanes)
{
	lanes_t asked = 0;

	if (is_rep(instruction))
		asked |= m->knobs.rep_zap;
	if (!is_tagged(instruction))
		asked |= m->knobs.retry;
	lanes_t first = lanes & asked;

	first &= ~same_retry(vcpu, first, (int64_t)gva, instruction);
	FOR_EACH_LANE(lane, first) {
		vcpu->retry_place[lane] = (int64_t)gva;
		vcpu->retry_instruction[lane] = (uint8_t)instruction;
	}
	if (first)
		unprotect(m, gfn, first);
	vcpu->retried = (vcpu->retried & ~lanes) | first;
	return first;
}
