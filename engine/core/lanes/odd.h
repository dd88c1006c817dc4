/*
 * The odd table: targets of entries in lanes that disagree with the others.
 *
 * Two lanes can map one entry to different frames, when an out-of-sync page is stale in one and renewed in the other.
 * It is rare, so such a lane's target lives here and its bit is set in `odd` of the entry. A hash finds the target of an
 * entry in a lane; the odd entries of one target (a frame, a region of large leaves, a slot) form a list, as the reverse
 * map of the others does.
 */
#pragma once

#include "state.h"

INLINE uint64_t odd_key(int32_t spte, int lane)
{
	return (uint64_t)spte << LANE_BITS | (uint64_t)lane;
}

INLINE int32_t odd_spte(const struct odd *odd)
{
	return (int32_t)(odd->key >> LANE_BITS);
}

INLINE int odd_lane(const struct odd *odd)
{
	return (int)(odd->key & (LANES - 1));
}

INLINE int32_t *odd_bucket(struct machine *m, uint64_t key)
{
	return &m->odd_heads[(key * UINT64_C(0x9E3779B97F4A7C15) >> 20) % (2 * ODD_ENTRIES)];
}

/* The first of the odd entries with the target that an entry of this slot and kind has. */
INLINE int32_t *odd_list(struct machine *m, int32_t slot, enum kind kind, int32_t target)
{
	if (kind == BIG)
		return &region_of(m, target)->first_odd;
	if (is_leaf(&m->headers[slot]))
		return &m->frames[target].first_odd;
	return &m->headers[target].first_odd;
}

/* Remember the target of an entry in one lane, in which it has none yet (`room` in events.h keeps space). */
static void odd_set(struct machine *m, int32_t spte, int lane, enum kind kind, int32_t target)
{
	uint64_t key = odd_key(spte, lane);
	int32_t *bucket = odd_bucket(m, key), *list = odd_list(m, slot_of(spte), kind, target);
	int32_t place = m->odd_free;

	if (place != NONE)
		m->odd_free = m->odds[place].next;
	else
		place = m->odd_made++;
	m->odd_used++;
	m->has_grown = true;
	m->odds[place] = (struct odd){
		.key = key, .target = target, .next = *list, .previous = NONE, .hash_next = *bucket};
	if (*list != NONE)
		m->odds[*list].previous = place;
	*list = place;
	*bucket = place;
}

static int32_t odd_get(struct machine *m, int32_t spte, int lane)
{
	uint64_t key = odd_key(spte, lane);
	int32_t place = *odd_bucket(m, key);

	while (m->odds[place].key != key)
		place = m->odds[place].hash_next;
	return m->odds[place].target;
}

/* Forget an odd entry in one lane and return its target. */
static int32_t odd_remove(struct machine *m, int32_t spte, int lane, enum kind kind)
{
	uint64_t key = odd_key(spte, lane);
	int32_t *link = odd_bucket(m, key);

	while (m->odds[*link].key != key)
		link = &m->odds[*link].hash_next;
	int32_t place = *link;
	struct odd *odd = &m->odds[place];

	*link = odd->hash_next;
	if (odd->next != NONE)
		m->odds[odd->next].previous = odd->previous;
	if (odd->previous != NONE)
		m->odds[odd->previous].next = odd->next;
	else
		*odd_list(m, slot_of(spte), kind, odd->target) = odd->next;
	odd->next = m->odd_free;
	m->odd_free = place;
	m->odd_used--;
	return odd->target;
}
