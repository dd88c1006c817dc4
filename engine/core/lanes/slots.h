/* Slots: where the shadow pages of a (gfn, role) are, for all lanes, and the hash chains that lead there. */
#pragma once

#include "counting.h"
#include "state.h"

/* The hash bucket of a gfn: by its low 10 bits (kvm_page_table_hashfn, Linux 3.0), or by hash_64 (Linux 6.1). */
INLINE int bucket_of(int64_t gfn, int hash)
{
	return hash ? (int)((uint64_t)gfn * UINT64_C(0x61C8864680B583EB) >> 52) : (int)(gfn & 1023);
}

static void widen_buckets(struct machine *m)
{
	for (int hash = 0; hash < 2; hash++)
		for (int bucket = 0; bucket < HASH_BUCKETS; bucket++)
			m->word_buckets[hash][bucket] = widened(m->byte_buckets[hash][bucket]);
	m->wide_buckets = true;
}

/* Enter a shadow page into its hash chains. */
INLINE void enter_chains(struct machine *m, int64_t gfn, lanes_t lanes)
{
	if (UNLIKELY(m->highest_bucket == 255 && !m->wide_buckets))
		widen_buckets(m);
	for (int hash = 0; hash < 2; hash++) {
		int bucket = bucket_of(gfn, hash);
		lanes_t longer;

		if (UNLIKELY(m->wide_buckets)) {
			m->word_buckets[hash][bucket] -= spread_words(lanes);
			longer = greater_words(m->word_buckets[hash][bucket], all_words((uint16_t)m->highest_bucket));
		} else {
			m->byte_buckets[hash][bucket] -= spread(lanes);
			longer = greater(m->byte_buckets[hash][bucket], all_bytes((uint8_t)m->highest_bucket));
		}
		if (longer)
			m->highest_bucket++;
	}
}

INLINE void leave_chains(struct machine *m, int64_t gfn, lanes_t lanes)
{
	for (int hash = 0; hash < 2; hash++) {
		if (UNLIKELY(m->wide_buckets))
			m->word_buckets[hash][bucket_of(gfn, hash)] += spread_words(lanes);
		else
			m->byte_buckets[hash][bucket_of(gfn, hash)] += spread(lanes);
	}
}

/* The numbers of shadow pages in the chain of a gfn, each lane by its own hash. */
INLINE words_t chain_lengths(const struct machine *m, int64_t gfn, lanes_t lanes)
{
	lanes_t by_hash = lanes & m->knobs.hash_64, by_low = lanes & ~m->knobs.hash_64;
	int low = bucket_of(gfn, 0), hashed = bucket_of(gfn, 1);
	bytes_t lengths = {0};

	if (UNLIKELY(m->wide_buckets))
		return (m->word_buckets[0][low] & spread_words(by_low)) | (m->word_buckets[1][hashed] & spread_words(by_hash));
	if (by_low)
		lengths = m->byte_buckets[0][low] & spread(by_low);
	if (by_hash)
		lengths |= m->byte_buckets[1][hashed] & spread(by_hash);
	return widened(lengths);
}

/* Count the steps of so many walks along the hash chain of a gfn (for_each_valid_sp). */
static void walk_chain(struct machine *m, int64_t gfn, lanes_t lanes, int64_t times)
{
	struct tallies *now = m->now;

	if (times > 1) {
		add_to_totals(now->totals[COUNTER_HASH_STEPS], chain_lengths(m, gfn, lanes), (uint64_t)times);
		return;
	}
	if (UNLIKELY(now->hash_room < (uint32_t)m->highest_bucket))
		empty_hash_steps(now);
	now->hash_room -= (uint32_t)m->highest_bucket;
	now->hash_steps += chain_lengths(m, gfn, lanes);
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

	m->has_grown = true;

	m->headers[slot] = (struct page){
		.gfn = (int32_t)gfn,
		.key = key,
		.sibling = *link,
		.first_parent = NONE,
		.first_odd = NONE,
	};
	m->flood[slot] = all_bytes(0);
	m->present_count[slot] = all_words(0);
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
