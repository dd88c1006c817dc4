/* Shadow pages in lanes: create, zap, and keep the pool. */
#pragma once

#include "counting.h"
#include "mechanism_hooks.h"
#include "numbers.h"
#include "rmap.h"
#include "slots.h"
#include "state.h"
#include "tree.h"

enum {
	MIN_FREE_PAGES = 5, /* KVM_MIN_FREE_MMU_PAGES */
	REFILL_PAGES = 25,  /* KVM_REFILL_PAGES */
	POOL_MAX = 1 << 30, /* what a larger pool is taken for */
};
_Static_assert(SLOTS + VCPUS * (CACHED_ROOTS + 1) + REFILL_PAGES < POOL_MAX, "no lane can fill such a pool");

/* Make every vCPU flush its TLB before it runs the guest again (kvm_flush_remote_tlbs). */
OUT_OF_LINE void flush_remote_some(struct machine *m, lanes_t lanes)
{
	m->flush |= lanes;
	for (int vcpu = 0; vcpu < m->vcpus_used; vcpu++)
		m->vcpus[vcpu].flush |= lanes;
	if (m->vcpus_used > 1)
		count_some(m, COUNTER_REMOTE_TLB_FLUSH, lanes);
}

INLINE void flush_remote(struct machine *m, lanes_t lanes)
{
	if (any(lanes))
		flush_remote_some(m, lanes);
}

/* Note in which lanes the pool is nearly empty, after `used` changed. */
INLINE void pools_changed(struct machine *m, lanes_t lanes)
{
	m->low = (m->low & ~lanes) | numbers_above(m->used, MIN_FREE_PAGES, m->knobs.pool, lanes);
}

static void use_pages(struct machine *m, lanes_t lanes)
{
	add_numbers(m->used, lanes, 1);
	raise_numbers(m->peak, m->used, lanes);
	pools_changed(m, lanes);
}

static void free_pages(struct machine *m, lanes_t lanes)
{
	add_numbers(m->used, lanes, -1);
	add_numbers(m->freed, lanes, 1);
	pools_changed(m, lanes);
}

INLINE int64_t pages_left(const struct machine *m, int lane)
{
	int64_t left = (int64_t)m->knobs.pool[lane] - m->used[lane];

	return left < 0 ? 0 : left;
}

/* An indirect page forbids large leaves in its region (account_shadowed). */
static void account_shadowed(struct machine *m, int64_t gfn, lanes_t lanes)
{
	struct region *region = region_of(m, gfn);

	increment_words(&region->shadowed_count, lanes);
	region->shadowed |= lanes;
	add_numbers(m->indirect_count, lanes, 1);
	m->indirect |= lanes;
}

static void unaccount_shadowed(struct machine *m, int64_t gfn, lanes_t lanes)
{
	static const numbers_t zeros;
	struct region *region = region_of(m, gfn);

	decrement_words(&region->shadowed_count, lanes);
	region->shadowed = ~equal_words(&region->shadowed_count, 0);
	add_numbers(m->indirect_count, lanes, -1);
	m->indirect = (m->indirect & ~lanes) | numbers_above(m->indirect_count, 0, zeros, lanes);
}

/* Make a slot's shadow page in lanes and, if indirect, write-protect its gfn (kvm_mmu_alloc_shadow_page). */
static void create(struct machine *m, int32_t slot, lanes_t lanes)
{
	struct page *page = &m->headers[slot];
	int64_t gfn = page->gfn;

	count_some(m, COUNTER_MMU_CACHE_MISS, lanes);
	page->shadowed |= lanes;
	enter_chains(m, gfn, lanes);
	enter_rings(m->older, m->newer, slot, lanes); /* as the newest (active_mmu_pages) */
	use_pages(m, lanes);
	if (!is_direct(page)) {
		account_shadowed(m, gfn, lanes);
		flush_remote(m, write_protect(m, gfn, lanes));
	}
}

/* Take a page out of the hash and the pools and, if indirect, end the protection that it asked for. */
static void forget_page(struct machine *m, int32_t slot, lanes_t lanes)
{
	struct page *page = &m->headers[slot];

	page->shadowed &= ~lanes;
	leave_chains(m, page->gfn, lanes);
	leave_rings(m->older, m->newer, slot, lanes);
	if (!is_direct(page))
		unaccount_shadowed(m, page->gfn, lanes);
}

/* The lanes in which a vCPU holds a slot as a root; with `mark`, note there that it was zapped. */
static lanes_t held_roots(struct machine *m, int32_t slot, lanes_t lanes, bool mark)
{
	lanes_t held = NO_LANES;

	for (int which = 0; which < m->vcpus_used; which++) {
		struct vcpu *vcpu = &m->vcpus[which];

		if (vcpu->root == slot) {
			lanes_t valid = vcpu->valid & lanes;

			held |= valid;
			if (mark) {
				vcpu->valid &= ~valid;
				vcpu->zapped |= valid;
			}
		}
		for (int place = 0; place < CACHED_ROOTS; place++) {
			lanes_t cached = numbers_equal(vcpu->cached_roots[place], slot, lanes);

			held |= cached;
			if (mark && any(cached))
				set_numbers(vcpu->cached_roots[place], -slot, cached);
		}
	}
	return held;
}

static void drop_entries(struct machine *m, int32_t slot, lanes_t lanes)
{
	uint64_t *occupied = m->headers[slot].occupied;

	if (is_leaf(&m->headers[slot])) {
		drop_leaves(m, slot, lanes);
		return;
	}
	FOR_EACH_ENTRY(index, occupied) {
		lanes_t present = m->sptes[slot][index].present & lanes;

		if (any(present))
			drop(m, slot, index, present);
	}
}

/* Take a page out of its parents (kvm_mmu_unlink_parents). */
static void drop_links_to(struct machine *m, int32_t slot, lanes_t lanes)
{
	int32_t spte = m->headers[slot].first_parent;

	while (spte != NONE) {
		int32_t next = next_parent(m, spte);
		lanes_t linked = lanes_to(m, slot_of(spte), place_of(spte), slot, SMALL) & lanes;

		if (any(linked))
			drop(m, slot_of(spte), place_of(spte), linked);
		spte = next;
	}
	int32_t place = m->headers[slot].first_odd;

	while (place != NONE) {
		struct odd odd = m->odds[place];

		place = odd.next;
		if (has(lanes, odd_lane(&odd)))
			drop(m, slot_of(odd_spte(&odd)), place_of(odd_spte(&odd)), bit(odd_lane(&odd)));
	}
}

/* Zap a page without what lies below it. */
static void zap_one(struct machine *m, int32_t slot, lanes_t lanes)
{
	struct page *page = &m->headers[slot];

	count_some(m, COUNTER_MMU_SHADOW_ZAPPED, lanes);
	drop_entries(m, slot, lanes);
	drop_links_to(m, slot, lanes);
	forget_page(m, slot, lanes);
	on_zap(m, slot, lanes);
	count(m, TALLY_ZAPPED_UNSYNC, page->unsync & lanes);
	page->unsync &= ~lanes;
	page->below_any &= ~lanes;
	lanes_t held = level_of(page) == ROOT_LEVEL ? held_roots(m, slot, lanes, true) : NO_LANES;

	m->obsolete |= held;
	free_pages(m, lanes & ~held);
	if (!any(page->shadowed))
		defer_free(m, slot);
}

/* Zap a page and the out-of-sync leaves below it; `freed` grows by the pages freed (kvm_mmu_prepare_zap_page). */
static void zap(struct machine *m, int32_t slot, lanes_t lanes)
{
	if (!is_leaf(&m->headers[slot])) {
		int32_t begin = collect_unsync(m, slot, lanes, true);

		for (int32_t item = begin; item < m->work_used; item++)
			zap_one(m, m->work[item].slot, m->work[item].lanes);
		m->work_used = begin;
	}
	zap_one(m, slot, lanes);
}

/* Zap the oldest pages of one lane until its pool has enough left. */
static void recycle(struct machine *m, int lane)
{
	int64_t wanted = REFILL_PAGES - pages_left(m, lane);
	bool skips_roots = has(m->knobs.recycle_skips_roots, lane);
	int32_t slot = m->newer[NONE][lane];

	m->freed[lane] = 0;
	while (slot != NONE && m->freed[lane] < wanted) {
		if (skips_roots && level_of(&m->headers[slot]) == ROOT_LEVEL &&
		    any(held_roots(m, slot, bit(lane), false))) {
			slot = m->newer[slot][lane];
			continue;
		}
		int32_t before = m->freed[lane];

		zap(m, slot, bit(lane));
		count_amount(m, COUNTER_MMU_RECYCLED, bit(lane), skips_roots ? m->freed[lane] - before : 1);
		slot = m->newer[NONE][lane];
	}
	if (m->freed[lane])
		flush_remote(m, bit(lane));
}

/* Make room in lanes whose pool is nearly full (make_mmu_pages_available, kvm_mmu_free_some_pages in Linux 3.0). */
INLINE void make_pages_available(struct machine *m, lanes_t lanes)
{
	FOR_EACH_LANE(lane, m->low & lanes)
		recycle(m, lane);
}
