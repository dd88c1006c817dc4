/* Zap a shadow page that the guest writes again and again without using it, in lanes. */
#pragma once

#include "lanes/pte_write.h"
#include "lanes/rmap.h"

/* Stores to one gfn after which a vCPU's detector, if nothing else happens, counts each further one. */
enum { SETTLED = 3 };

/* A vCPU that counts marks sptes as accessed, even where nothing can flood. */
INLINE bool flooding_is_used(const struct knobs *knobs)
{
	return knobs->flood_threshold > 0 || knobs->flood_scope == FLOOD_SCOPE_VCPU;
}

INLINE lanes_t by_vcpu(const struct machine *m)
{
	return m->knobs.flooding.flood_scope[FLOOD_SCOPE_VCPU];
}

/* The lanes that have a threshold and no oracle. */
INLINE lanes_t can_flood(const struct machine *m)
{
	return m->knobs.flooding.flood_threshold_not_0 & ~m->knobs.oracle;
}

/* Forget the write count of a page. */
INLINE void clear_count(struct machine *m, int32_t slot, lanes_t lanes)
{
	lanes_t counted = m->headers[slot].flooding.counted & lanes;

	if (any(counted)) {
		set_bytes(&m->flooding.counts[slot], counted, 0);
		m->headers[slot].flooding.counted &= ~counted;
	}
}

INLINE void flooding_on_lookup(struct machine *m, int32_t slot, lanes_t lanes)
{
	clear_count(m, slot, lanes);
}

INLINE void flooding_on_walk(struct machine *m, int32_t slot, lanes_t lanes)
{
	clear_count(m, slot, lanes & m->knobs.flooding.flood_clear_on_walk);
}

INLINE void flooding_on_root(struct machine *m, int32_t slot, lanes_t lanes)
{
	clear_count(m, slot, lanes);
}

INLINE void flooding_on_fault(struct machine *m, struct vcpu *vcpu, lanes_t lanes)
{
	vcpu->flooding.count_reset |= lanes & m->knobs.flooding.flood_reset_on_fault & by_vcpu(m);
}

/* Forget the last speculative spte of all vCPUs, as every zap does (Linux 3.0 kvm_mmu_prepare_zap_page). */
INLINE void flooding_on_root_freed(struct machine *m, lanes_t lanes)
{
	for (int which = 0; which < m->vcpus_used; which++) {
		m->vcpus[which].flooding.updated &= ~lanes;
		m->vcpus[which].flooding.updated_own &= ~lanes;
	}
}

INLINE void flooding_on_zap(struct machine *m, int32_t slot, lanes_t lanes)
{
	clear_count(m, slot, lanes);
	flooding_on_root_freed(m, lanes);
}

/* Note the last speculative spte: one for all lanes, as long as they agree. */
INLINE void flooding_on_prefetch(struct machine *m, struct vcpu *vcpu, int32_t spte, int64_t gfn, lanes_t lanes)
{
	struct flooding_vcpu *last = &vcpu->flooding;

	lanes &= by_vcpu(m);
	if (!any(lanes))
		return;
	lanes_t others = last->updated & ~lanes;

	last->updated_own = (last->updated_own & ~lanes) | others;
	FOR_EACH_LANE(lane, others) {
		last->own_updated_spte[lane] = last->updated_spte;
		last->own_updated_gfn[lane] = last->updated_gfn;
	}
	last->updated = lanes;
	last->updated_spte = spte;
	last->updated_gfn = (int32_t)gfn;
}

/* Whether the last speculative spte was accessed; a store to the frame that it maps accesses it. */
static bool updated_was_used(struct machine *m, const struct flooding_vcpu *last, int lane, int64_t gfn)
{
	int32_t spte, mapped;

	if (has(last->updated, lane)) {
		spte = last->updated_spte;
		mapped = last->updated_gfn;
	} else if (has(last->updated_own, lane)) {
		spte = last->own_updated_spte[lane];
		mapped = last->own_updated_gfn[lane];
	} else {
		return false;
	}
	struct spte *entry = entry_of(m, spte);

	if (!has(entry->present, lane))
		return false;
	if (mapped == gfn)
		entry->accessed |= bit(lane);
	return has(entry->accessed, lane);
}

/*
 * Advance the vCPU's detector by a store; note in which lanes it repeats the last one often enough. `times` > 1 stands
 * for so many further stores to the same gfn once the detector counts each of them.
 */
static void flooding_on_write(struct machine *m, struct vcpu *vcpu, const struct written *written, int64_t times,
			      lanes_t lanes)
{
	const struct flooding_knobs *knobs = &m->knobs.flooding;
	struct flooding_vcpu *last = &vcpu->flooding;
	int32_t gfn = (int32_t)written->gfn + 1;
	lanes_t flooded = NO_LANES;

	FOR_EACH_LANE(lane, lanes & by_vcpu(m)) {
		if (has(last->count_reset, lane))
			last->write_count[lane] = 0;
		bool used = updated_was_used(m, last, lane, written->gfn);

		if (last->write_gfn[lane] == gfn && !(used && has(knobs->flood_accessed_exception, lane))) {
			last->write_count[lane] += times;
			if (knobs->flood_threshold[lane] && last->write_count[lane] >= knobs->flood_threshold[lane])
				flooded |= bit(lane);
		} else {
			last->write_gfn[lane] = gfn;
			last->write_count[lane] = 1;
			last->updated &= ~bit(lane);
			last->updated_own &= ~bit(lane);
		}
	}
	last->count_reset &= ~lanes;
	m->flooding.repeats = flooded;
}

/*
 * Count a store in the lanes whose shadow pages count; those in which the page floods. A count that reaches its
 * threshold, 255 at the most, is cleared by the zap that follows, so that a byte holds it.
 */
static lanes_t counts_full(struct machine *m, int32_t slot, int index, lanes_t lanes)
{
	const struct flooding_knobs *knobs = &m->knobs.flooding;
	struct page *page = &m->headers[slot];
	lanes_t counting = lanes & ~by_vcpu(m);
	lanes_t spared = counting & knobs->flood_scope[FLOOD_SCOPE_SPTE];

	if (any(spared)) {
		const struct spte *entry = &m->sptes[slot][index];

		/* A link always was accessed. */
		spared &= entry->accessed | (is_leaf(page) ? NO_LANES : entry->present & ~entry->large);
		clear_count(m, slot, spared);
		counting &= ~spared;
	}
	if (!any(counting))
		return NO_LANES;
	increment(&m->flooding.counts[slot], counting);
	page->flooding.counted |= counting;
	return counting & ~greater(&knobs->flood_threshold, &m->flooding.counts[slot]);
}

static lanes_t flooding_gives_up(struct machine *m, int32_t slot, const struct written *written, lanes_t lanes)
{
	lanes &= can_flood(m);
	if (is_leaf(&m->headers[slot]))
		lanes &= m->knobs.flooding.flood_level1;
	if (!written->by_guest || !any(lanes))
		return NO_LANES;
	lanes_t flooded = (lanes & m->flooding.repeats) | counts_full(m, slot, written->index, lanes);

	count(m, COUNTER_FLOOD_ZAPS, flooded);
	count(m, COUNTER_MMU_FLOODED, flooded);
	return flooded;
}

/* Pages that can flood, and vCPUs until their detector counts each store. */
static lanes_t flooding_watches(struct machine *m, const struct iterations *next, lanes_t lanes)
{
	lanes_t watched = can_flood(m) & next->shadowed & (next->upper | m->knobs.flooding.flood_level1);

	watched |= by_vcpu(m) & (next->unshadowed <= SETTLED ? EVERY_LANE : next->shadowed);
	return lanes & watched;
}
