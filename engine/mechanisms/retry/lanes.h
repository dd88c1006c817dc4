/* Zap a shadow page and retry when the storing instruction is none that writes page tables, in lanes. */
#pragma once

#include "lanes/state.h"

INLINE bool retry_is_used(const struct knobs *knobs)
{
	return knobs->retry_untagged || knobs->rep_string_zap;
}

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

INLINE lanes_t retry_may_retry(struct machine *m, int instruction, lanes_t lanes)
{
	lanes_t asked = NO_LANES;

	if (instruction == INSTRUCTION_REP_STOS || instruction == INSTRUCTION_REP_MOVS)
		asked |= m->knobs.retry.rep_string_zap;
	if (!is_tagged(instruction))
		asked |= m->knobs.retry.retry_untagged;
	return lanes & asked;
}

/* The lanes whose last retry was of this instruction at this place: it is not retried again (last_retry_eip). */
INLINE lanes_t same_retry(const struct retry_vcpu *last, lanes_t lanes, int64_t place, int instruction)
{
	lanes_t same = NO_LANES;

	FOR_EACH_LANE(lane, lanes & last->retried)
		if (last->place[lane] == place && last->instruction[lane] == instruction)
			same |= bit(lane);
	return same;
}

INLINE lanes_t retry_on_trap(struct machine *m, struct vcpu *vcpu, uint64_t gva, int instruction, lanes_t lanes)
{
	lanes_t first = retry_may_retry(m, instruction, lanes);

	first &= ~same_retry(&vcpu->retry, first, (int64_t)gva, instruction);
	FOR_EACH_LANE(lane, first) {
		vcpu->retry.place[lane] = (int64_t)gva;
		vcpu->retry.instruction[lane] = (uint8_t)instruction;
	}
	vcpu->retry.retried = (vcpu->retry.retried & ~lanes) | first;
	return first;
}
