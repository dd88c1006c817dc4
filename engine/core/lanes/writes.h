/* Stores in lanes: native where the spte is writable; else fault, and retry or emulate. */
#pragma once

#include "counting.h"
#include "faults.h"
#include "mechanism_hooks.h"
#include "memory.h"
#include "paths.h"
#include "pte_write.h"
#include "roots.h"
#include "state.h"

/* Leave the store's value in every entry that it covers; zeros where nothing was ever written change nothing. */
INLINE void write_memory(struct machine *m, const struct store *op)
{
	int64_t gfn = op->gpa >> 12;

	if (!op->value && m->frames[gfn].table == NONE)
		return;
	uint64_t *entries = m->tables[table_of(m, gfn)];
	int offset = (int)(op->gpa & 4095);
	int first = offset >> 3, last = (offset + op->count * op->width - 1) >> 3;

	if (op->value)
		for (int index = first; index <= last; index++)
			entries[index] = op->value;
	else if (first == last)
		entries[first] = 0;
	else
		memset(&entries[first], 0, (size_t)(last - first + 1) * sizeof *entries);
}

/* The fewest operands that any pending lane has stored; `group` becomes the lanes that are there. */
static int least_done(const struct machine *m, const struct store *op, lanes_t pending, lanes_t *group)
{
	*group = pending;
	if (op->count == 1)
		return 0;
	int least = least_number(m->done, op->count, pending);

	*group = numbers_equal(m->done, least, pending);
	return least;
}

/* Advance lanes by so many operands, of those that are left; the lanes that have stored all. */
static lanes_t advance_lanes(struct machine *m, const struct store *op, lanes_t lanes, int operands)
{
	if (op->count == 1)
		return lanes;
	add_numbers(m->done, lanes, operands);
	return numbers_equal(m->done, op->count, lanes);
}

/* The lanes of a mask that emulate as many iterations at one exit as the lowest one. */
static lanes_t same_limit(const struct machine *m, lanes_t lanes)
{
	return numbers_equal(m->knobs.rep_limit, m->knobs.rep_limit[lowest(lanes)], lanes);
}

/* Decode the instruction, retry or emulate it; the lanes that have stored all (x86_emulate_instruction). */
static lanes_t emulate(struct machine *m, struct vcpu *vcpu, const struct store *op, int done, lanes_t lanes)
{
	uint64_t skip = (uint64_t)done * (uint64_t)op->width;
	lanes_t retried = on_trap(m, vcpu, op->gva + skip, op->instruction, lanes);
	lanes_t rest = lanes & ~retried, finished = NO_LANES;

	if (any(retried))
		unprotect(m, op->gpa >> 12, retried);
	if (!is_rep(op->instruction)) {
		if (any(rest)) {
			count_some(m, COUNTER_PAGE_WALKS, rest);
			pte_write(m, vcpu, op->gpa + (int64_t)skip, op->width, rest, op->live, true);
		}
		return advance_lanes(m, op, rest, 1);
	}
	while (any(rest)) {
		lanes_t same = same_limit(m, rest);
		int limit = m->knobs.rep_limit[lowest(same)], operands = (op->count - done) % limit;

		/* The emulator stops when the rest is a multiple of its limit (emulator_restart condition on RCX). */
		if (!operands)
			operands = limit;
		rest &= ~same;
		count_amount(m, COUNTER_REP_ITERATIONS, same, operands);
		iterate(m, vcpu, op, done, operands, same);
		finished |= advance_lanes(m, op, same, operands);
	}
	return finished;
}

/* Carry out a guest store in lanes. */
OUT_OF_LINE void store_in_lanes(struct machine *m, struct vcpu *vcpu, const struct store *op, lanes_t lanes)
{
	lanes_t faults = access_lanes(m, vcpu, op->gva, lanes, true), pending = faults, group = faults;
	int done = 0;
	bool written = false;

	if (op->count > 1 && any(faults))
		memset(m->done, 0, sizeof m->done);
	while (any(pending)) {
		uint64_t gva = op->gva + (uint64_t)done * (uint64_t)op->width;

		if (written) {
			faults = access_lanes(m, vcpu, gva, group, true);
			pending &= ~(group & ~faults);
		}
		if (any(faults) && (!walk_guest(m, vcpu, gva, true) || m->walk.gfn != op->gpa >> 12)) {
			pending &= ~faults;
		} else if (any(faults)) {
			struct fault_result result = page_fault(m, vcpu, gva, faults, true, !op->live && !written);

			if (!written)
				write_memory(m, op);
			written = true;
			if (any(result.emulate))
				pending &= ~emulate(m, vcpu, op, done, result.emulate);
			finish_exit(m, faults);
		}
		done = least_done(m, op, pending, &group);
	}
	if (!written)
		write_memory(m, op);
}
