/*
 * Checked builds: the slow path beside the fast ones.
 *
 * A second machine gets each event as well and takes the slow path. After the event both must have counted the same, and
 * be in the same state wherever the event or what follows it could see a difference at once.
 */
#pragma once

#include "counting.h"
#include "state.h"

/* Whether two machines hold the same about a vCPU, as far as lanes that hold anything are concerned. */
static bool same_vcpu(const struct vcpu *a, const struct vcpu *b)
{
	const lanes_t *masks = &a->valid, *others = &b->valid;
	size_t of_mechanisms = offsetof(struct vcpu, cached_roots) + sizeof a->cached_roots;

	for (size_t i = 0; i < (offsetof(struct vcpu, descs) - offsetof(struct vcpu, valid)) / sizeof *masks; i++)
		if (!same_lanes(masks[i], others[i]))
			return false;
	return a->cr3 == b->cr3 && a->root == b->root && a->store_gfn == b->store_gfn && a->store_va == b->store_va &&
	       !memcmp(&a->descs, &b->descs, sizeof a->descs) &&
	       !memcmp(a->cached_roots, b->cached_roots, sizeof a->cached_roots) &&
	       !memcmp((const char *)a + of_mechanisms, (const char *)b + of_mechanisms, sizeof *a - of_mechanisms);
}

static bool same_counts(struct machine *a, struct machine *b)
{
	static _Thread_local int64_t of_a[LANES][COUNTERS], of_b[LANES][COUNTERS];
	int activity = (int)(a->now - a->tallies);

	read_tallies(a, &a->tallies[activity], of_a, LANES);
	read_tallies(b, &b->tallies[activity], of_b, LANES);
	return !memcmp(of_a, of_b, sizeof of_a);
}

static bool same_state(struct machine *a, struct machine *b)
{
	for (int which = 0; which < a->vcpus_used; which++)
		if (!same_vcpu(&a->vcpus[which], &b->vcpus[which]))
			return false;
	return same_lanes(a->low, b->low) && same_lanes(a->obsolete, b->obsolete) &&
	       same_lanes(a->indirect, b->indirect) && same_lanes(a->flush, b->flush) &&
	       a->slots_made - a->slots_free == b->slots_made - b->slots_free && a->odd_used == b->odd_used &&
	       a->tables_made == b->tables_made &&
	       !memcmp(&a->used, &b->used, sizeof a->used) && same_counts(a, b);
}
