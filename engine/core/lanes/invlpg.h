/* INVLPG and injected faults in lanes: renew the spte of one address in out-of-sync pages. */
#pragma once

#include "counting.h"
#include "descs.h"
#include "faults.h"
#include "guess.h"
#include "memory.h"
#include "pages.h"
#include "pte_write.h"
#include "rmap.h"
#include "roots.h"
#include "sptes.h"
#include "state.h"

/* Drop the spte of an out-of-sync page and install it anew from the guest's entry. */
static void renew_spte(struct machine *m, struct vcpu *vcpu, int32_t slot, int index, lanes_t lanes)
{
	lanes_t present = m->sptes[slot][index].present & lanes;

	if (!any(present))
		return;
	drop(m, slot, index, present);
	flush_remote(m, present);
	lanes_t by_write = present & m->knobs.invlpg_3_0;

	if (any(by_write))
		pte_write(m, vcpu, (int64_t)m->headers[slot].gfn << 12 | index << 3, 8, by_write, true, false);
	lanes_t empty = without_desc(vcpu, present & ~by_write);
	lanes_t filled = present & ~by_write & ~empty;

	count(m, COUNTER_PREFETCH_SKIPPED, empty);
	if (any(filled))
		prefetch_gpte(m, vcpu, slot, index, filled);
}

/* Serve one address below one root, for the lanes that take one way down; these lanes (FNAME(invlpg)). */
static lanes_t invalidate_on_way(struct machine *m, struct vcpu *vcpu, int32_t root, uint64_t gva, lanes_t lanes)
{
	int32_t slot = root;

	for (int level = ROOT_LEVEL;; level--) {
		int index = index_of(gva, level);

		if (level == 1) {
			lanes_t stale = lanes & m->headers[slot].unsync;

			if (any(stale))
				renew_spte(m, vcpu, slot, index, stale);
			return lanes;
		}
		lanes_t linked = lanes & m->sptes[slot][index].present & ~large_lanes(m, slot, index);

		if (!has(linked, lowest(lanes)))
			return lanes & ~linked;
		int32_t child = link_target(m, slot, index, lowest(lanes));

		lanes = linked & lanes_to(m, slot, index, child, SMALL);
		slot = child;
	}
}

static void invalidate_in_root(struct machine *m, struct vcpu *vcpu, int32_t root, uint64_t gva, lanes_t lanes)
{
	while (any(lanes))
		lanes &= ~invalidate_on_way(m, vcpu, root, gva, lanes);
}

/* Serve INVLPG in the roots that a vCPU keeps beside the current one (kvm_mmu_invalidate_gva). */
static void invalidate_in_cached(struct machine *m, struct vcpu *vcpu, int place, uint64_t gva)
{
	const int32_t *roots = vcpu->cached_roots[place];
	lanes_t rest = m->knobs.shadow & m->knobs.invlpg_6_1;

	while (any(rest)) {
		int32_t slot = roots[lowest(rest)];
		lanes_t same = numbers_equal(roots, slot, rest);

		rest &= ~same;
		if (slot > NONE) {
			count_some(m, COUNTER_LOCK_ACQUISITIONS, same);
			invalidate_in_root(m, vcpu, slot, gva, same);
		}
	}
}

/* Serve INVLPG: in the current root and, since the cached roots exist, in these as well (kvm_mmu_invlpg). */
static void invalidate_page(struct machine *m, struct vcpu *vcpu, uint64_t gva, lanes_t lanes)
{
	lanes_t valid = vcpu->valid & lanes;

	count(m, COUNTER_INVLPG, lanes);
	top_up(m, vcpu, lanes);
	if (any(valid)) {
		count_some(m, COUNTER_LOCK_ACQUISITIONS, valid);
		invalidate_in_root(m, vcpu, vcpu->root, gva, valid);
	}
	for (int place = 0; place < CACHED_ROOTS; place++)
		invalidate_in_cached(m, vcpu, place, gva);
	finish_exit(m, lanes);
}

/* `is_mapped`, without a walk where a guess holds. */
INLINE bool is_mapped_as_guessed(struct machine *m, const struct vcpu *vcpu, uint64_t gva)
{
	const struct guess *guess = m->guesses ? guess_of(m, vcpu, gva) : NULL;

	if (!guess || guess->region != (gva >> LARGE_SHIFT) + 1 || vcpu->cr3 == NO_GFN || !follow_guest(m, vcpu, guess))
		return is_mapped(m, vcpu, gva);
	return !guess->is_small || *guest_entry(m, guess->entry[below(1)] | (uint32_t)index_of(gva, 1)) & PTE_PRESENT;
}

/* Serve a fault that the guest's own tables cause (kvm_inject_emulated_page_fault). */
static void inject_fault(struct machine *m, struct vcpu *vcpu, uint64_t gva, lanes_t lanes)
{
	lanes_t renewing = lanes & m->knobs.invlpg_6_1 & vcpu->valid;

	m->now->guest_faults++;
	on_fault(m, vcpu, lanes);
	if (any(renewing) && is_mapped_as_guessed(m, vcpu, gva)) {
		top_up(m, vcpu, renewing);
		count_some(m, COUNTER_LOCK_ACQUISITIONS, renewing);
		invalidate_in_root(m, vcpu, vcpu->root, gva, renewing);
		finish_exit(m, lanes);
	}
}
