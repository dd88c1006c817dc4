/* Slots: where the shadow pages of a (gfn, role) are, for all lanes, and the hash chains that lead there. */
#pragma once

#include "counting.h"
#include "state.h"

/* A hash of 12 bits: the product with the golden ratio (hash_64, Linux 6.1 include/linux/hash.h). */
INLINE int hash_64(int64_t gfn)
{
	return (int)((uint64_t)gfn * UINT64_C(0x61C8864680B583EB) >> 52);
}

/* The hash bucket of a gfn: by its low 10 bits (kvm_page_table_hashfn, Linux 3.0), or by hash_64 (Linux 6.1). */
INLINE int bucket_of(int64_t gfn, int hash)
{
	return hash ? hash_64(gfn) : (int)(gfn & 1023);
}

static void widen_buckets(struct machine *m)
{
	for (int hash = 0; hash < 2; hash++)
		for (int bucket = 0; bucket < HASH_BUCKETS; bucket++)
			widen_bytes(&m->word_buckets[hash][bucket], &m->byte_buckets[hash][bucket]);
	m->wide_buckets = true;
}

/* Enter a shadow page into its hash chains. */
static void enter_chains(struct machine *m, int64_t gfn, lanes_t lanes)
{
	if (UNLIKELY(m->highest_bucket == 255 && !m->wide_buckets))
		widen_buckets(m);
	for (int hash = 0; hash < 2; hash++) {
		int bucket = bucket_of(gfn, hash);
		lanes_t longer;

		if (UNLIKELY(m->wide_buckets)) {
			increment_words(&m->word_buckets[hash][bucket], lanes);
			longer = words_above_value(&m->word_buckets[hash][bucket], (uint16_t)m->highest_bucket);
		} else {
			increment(&m->byte_buckets[hash][bucket], lanes);
			longer = above_value(&m->byte_buckets[hash][bucket], (uint8_t)m->highest_bucket);
		}
		if (any(longer))
			m->highest_bucket++;
	}
}

static void leave_chains(struct machine *m, int64_t gfn, lanes_t lanes)
{
	for (int hash = 0; hash < 2; hash++) {
		if (UNLIKELY(m->wide_buckets))
			decrement_words(&m->word_buckets[hash][bucket_of(gfn, hash)], lanes);
		else
			decrement(&m->byte_buckets[hash][bucket_of(gfn, hash)], lanes);
	}
}

/* Add the number of shadow pages in the chain of a gfn to that of each lane, by the lane's own hash. */
INLINE void add_chain_lengths(const struct machine *m, words_t *steps, int64_t gfn, lanes_t lanes)
{
	lanes_t of_hash[2] = {lanes & ~m->knobs.hash_64, lanes & m->knobs.hash_64};

	for (int hash = 0; hash < 2; hash++) {
		int bucket = bucket_of(gfn, hash);

		if (!any(of_hash[hash]))
			continue;
		if (UNLIKELY(m->wide_buckets))
			add_words(steps, &m->word_buckets[hash][bucket], of_hash[hash]);
		else
			add_bytes(steps, &m->byte_buckets[hash][bucket], of_hash[hash]);
	}
}

/* Count the steps of so many walks along the hash chain of a gfn (for_each_valid_sp). */
static void walk_chain(struct machine *m, int64_t gfn, lanes_t lanes, int64_t times)
{
	struct tallies *now = m->now;

	if (times > 1) {
		words_t steps = {0};

		add_chain_lengths(m, &steps, gfn, lanes);
		add_to_totals(now->totals[COUNTER_HASH_STEPS], &steps, (uint64_t)times);
		return;
	}
	if (UNLIKELY(now->hash_room < (uint32_t)m->highest_bucket))
		empty_hash_steps(now);
	now->hash_room -= (uint32_t)m->highest_bucket;
	add_chain_lengths(m, &now->hash_steps, gfn, lanes);
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
	int32_t slot = m->slots_free ? m->free[--m->slots_free] : m->slots_made++;

	m->has_grown = true;

	m->headers[slot] = (struct page){
		.gfn = (int32_t)gfn,
		.key = key,
		.sibling = *link,
		.first_parent = NONE,
		.first_odd = NONE,
	};
	memset(&m->present_count[slot], 0, sizeof m->present_count[slot]);
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
		if (any(page->shadowed))
			continue;
		int32_t *link = &m->frames[page->gfn].first_slot;

		while (*link != slot)
			link = &m->headers[*link].sibling;
		*link = page->sibling;
		page->key = 0;
		m->free[m->slots_free++] = slot;
	}
}
