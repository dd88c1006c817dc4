/* The per-vCPU cache of pte_list_desc in lanes: filled, taken from, and empty (the host's BUG_ON). */
#pragma once

#include "counting.h"
#include "lengths.h"
#include "state.h"

enum { DESC_CAPACITY = 40 }; /* KVM_NR_MEM_OBJS */

/* Fill the cache where it is below its minimum (mmu_topup_memory_cache). */
INLINE void top_up(struct machine *m, struct vcpu *vcpu, lanes_t lanes)
{
	lanes &= vcpu->low_desc;
	if (any(lanes)) {
		vcpu->low_desc &= ~lanes;
		set_bytes(&vcpu->descs, lanes, DESC_CAPACITY);
	}
	(void)m;
}

/* The lanes of a mask whose cache is empty. */
INLINE lanes_t without_desc(const struct vcpu *vcpu, lanes_t lanes)
{
	return lanes & equal(&vcpu->descs, 0);
}

/* The lanes in which all objects of a reverse map of this length are full, so that one more entry needs another. */
INLINE lanes_t at_full_desc(const struct machine *m, int length, lanes_t lanes)
{
	lanes_t full = NO_LANES;

	for (int group = 0; m->knobs.desc_entries[group]; group++) {
		int entries = m->knobs.desc_entries[group];

		if (length >= entries && length % entries == 0)
			full |= m->knobs.desc_lanes[group] & lanes;
	}
	return full;
}

/* Take an object where one more spte of `gfn` needs one (pte_list_add). */
static void take_desc(struct machine *m, struct vcpu *vcpu, int64_t gfn, lanes_t lanes)
{
	lanes_t rest = mapped_lanes(m, gfn, lanes), needed = NO_LANES;

	while (any(rest)) {
		int length = length_of(m, gfn, lowest(rest));
		lanes_t same = lanes_of_length(m, gfn, length, rest);

		rest &= ~same;
		needed |= length == 1 ? same : at_full_desc(m, length, same);
	}
	if (!any(needed))
		return;
	lanes_t empty = without_desc(vcpu, needed);

	count(m, COUNTER_FATAL, empty);
	needed &= ~empty;
	decrement(&vcpu->descs, needed);
	vcpu->low_desc |= needed & greater(&m->knobs.desc_minimum, &vcpu->descs);
}
