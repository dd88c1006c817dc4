/* Slots: where the shadow pages of a (gfn, role) are, for all lanes, and the hash chains that lead there. */
#pragma once

#include "counting.h"
#include "state.h"

/* The hash bucket of a gfn: by its low 10 bits (kvm_page_table_hashfn, Linux 3.0), or by hash_64 (Linux 6.1). */
INLINE int bucket_of(int64_t gfn, int hash)
{
	return hash ? (int)((uint64_t)gfn * UINT64_C(0x61C8864680B583EB) >> 52) : (int)(gfn & 1023);
}

/* Count the steps of so many walks along the hash chain of a gfn (for_each_valid_sp). */
static void walk_chain(struct machine *m, int64_t gfn, lanes_t lanes, int64_t times)
{
	struct tallies *now = m->now;
	lanes_t by_hash = lanes & m->knobs.hash_64, by_low = lanes & ~m->knobs.hash_64;
	words_t steps = {0};

	if (by_low)
		steps |= m->buckets[0][bucket_of(gfn, 0)] & spread_words(by_low);
	if (by_hash)
		steps |= m->buckets[1][bucket_of(gfn, 1)] & spread_words(by_hash);
	if (times > 1) {
		for (int lane = 0; lane < LANES; lane++)
			now->totals[COUNTER_HASH_STEPS][lane] += steps[lane] * (uint64_t)times;
		return;
	}
	if (UNLIKELY(now->hash_room < (uint32_t)m->highest_bucket))
		empty_hash_steps(now);
	now->hash_room -= (uint32_t)m->highest_bucket;
	now->hash_steps += steps;
}

/* The slot of (gfn, role), or NONE. */
INLINE int32_t find_slot(const struct machine *m, int64_t gfn, int32_t key)
{
	int32_t slot = m->frames[gfn].first_slot;

	while (slot != NONE && m->headers[slot].key != key)
		slot = m->headers[slot].sibling;
	return slot;
}

/* The slot of (gfn, role), taken from the free ones if there is none. Slots of a gfn are sorted by role. */
static int32_t make_slot(struct machine *m, int64_t gfn, int32_t key)
{
	int32_t *link = &m->frames[gfn].first_slot;

	while (*link != NONE && m->headers[*link].key < key)
		link = &m->headers[*link].sibling;
	if (*link != NONE && m->headers[*link].key == key)
		return *link;
	int32_t slot = m->free[--m->free_slots];

	m->headers[slot] = (struct page){
		.gfn = (int32_t)gfn,
		.key = key,
		.sibling = *link,
		.first_parent = NONE,
		.first_odd = NONE,
	};
	m->flood[slot] = all_bytes(0);
	m->present_count[slot] ^= m->present_count[slot];
	*link = slot;
	return slot;
}

/* Have a slot that no lane uses any more returned after the event. */
INLINE void defer_free(struct machine *m, int32_t slot)
{
	if (!m->headers[slot].is_deferred) {
		m->headers[slot].is_deferred = true;
		m->deferred[m->deferred_used++] = slot;
	}
}

/* Return the slots that no lane uses any more; called between events, when nobody holds one. */
static void free_deferred(struct machine *m)
{
	while (m->deferred_used) {
		int32_t slot = m->deferred[--m->deferred_used];
		struct page *page = &m->headers[slot];

		page->is_deferred = false;
		if (page->shadowed)
			continue;
		int32_t *link = &m->frames[page->gfn].first_slot;

		while (*link != slot)
			link = &m->headers[*link].sibling;
		*link = page->sibling;
		page->key = 0;
		m->free[m->free_slots++] = slot;
	}
}
