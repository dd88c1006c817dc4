/*
 * Zap a shadow page that the guest writes again and again without using it.
 *
 * Three scopes, by the knob `flood_scope`:
 * - page (Linux 3.3 and later, detect_write_flooding): each shadow page counts its stores; a look-up or a fault through
 *   the page clears the count.
 * - vcpu (Linux 3.0, kvm_mmu_pte_write): each vCPU counts stores in a row to one gfn. A store does not count as a repeat
 *   if the last spte that was installed speculatively, wherever it is, was accessed meanwhile.
 * - spte (first version of the 2011 series; the formula is an assumption, its cover letter gives only the idea): each
 *   shadow page counts stores whose own spte was not accessed; an accessed one clears the count.
 */
#pragma once

#include "../state.h"

/* Whether the last speculative spte was accessed; a store to the frame that it maps accesses it. */
static bool updated_was_used(struct machine *m, struct vcpu *vcpu, int lane, int64_t gfn)
{
	int32_t spte, mapped;

	if (vcpu->updated & bit(lane)) {
		spte = vcpu->updated_spte;
		mapped = vcpu->updated_gfn;
	} else if (vcpu->updated_own & bit(lane)) {
		spte = vcpu->own_updated_spte[lane];
		mapped = vcpu->own_updated_gfn[lane];
	} else {
		return false;
	}
	struct spte *entry = entry_of(m, spte);

	if (!(entry->present & bit(lane)))
		return false;
	if (mapped == gfn)
		entry->accessed |= bit(lane);
	return entry->accessed & bit(lane);
}

/*
 * Advance the vCPU's detector by a store; the lanes in which it repeats the last one often enough. `times` > 1 stands
 * for so many further stores to the same gfn once the detector counts each of them.
 */
static lanes_t repeating_lanes(struct machine *m, struct vcpu *vcpu, int64_t gfn, lanes_t lanes, int64_t times)
{
	lanes_t flooded = 0;

	FOR_EACH_LANE(lane, lanes & m->knobs.scope_vcpu) {
		if (vcpu->count_reset & bit(lane))
			vcpu->write_count[lane] = 0;
		bool used = updated_was_used(m, vcpu, lane, gfn);

		if (vcpu->write_gfn[lane] == gfn && !(used && m->knobs.accessed_exception & bit(lane))) {
			vcpu->write_count[lane] += times;
			if (m->knobs.flood_on & bit(lane) && vcpu->write_count[lane] >= m->knobs.threshold[lane])
				flooded |= bit(lane);
		} else {
			vcpu->write_gfn[lane] = (int32_t)gfn;
			vcpu->write_count[lane] = 1;
			vcpu->updated &= ~bit(lane);
			vcpu->updated_own &= ~bit(lane);
		}
	}
	vcpu->count_reset &= ~lanes;
	return flooded;
}

/*
 * Count a store in the lanes whose shadow pages count; those in which the page floods. A count that reaches its
 * threshold, 255 at the most, is cleared by the zap that follows, so that a byte holds it.
 */
static lanes_t flooding_lanes(struct machine *m, int32_t slot, int index, lanes_t lanes)
{
	struct page *page = &m->headers[slot];
	lanes_t counting = lanes & m->knobs.flood_on & ~m->knobs.scope_vcpu & ~m->knobs.oracle;

	if (is_leaf(page))
		counting &= m->knobs.level1;
	lanes_t spared = counting & m->knobs.scope_spte;

	if (spared) {
		const struct spte *entry = &m->sptes[slot][index];

		/* A link always was accessed. */
		spared &= entry->accessed | (is_leaf(page) ? 0 : entry->present & ~entry->large);
		set_bytes(&m->flood[slot], spared, 0);
		page->flooding &= ~spared;
		counting &= ~spared;
	}
	if (!counting)
		return 0;
	increment(&m->flood[slot], counting);
	page->flooding |= counting;
	return counting & ~greater(&m->knobs.threshold, &m->flood[slot]);
}
