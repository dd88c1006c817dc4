/* Have the memory of events to come brought near, while the events before them are carried out. */
#pragma once

#include "layout.h"
#include "memory.h"
#include "slots.h"
#include "state.h"

enum { EVENTS_AHEAD = 8 };

/*
 * Fetch what a store to come will look at: the shadow of the entry, and the frame that it maps, which lanes will map
 * soon. To look up where a touch will end costs more than it spares.
 */
INLINE void look_ahead(struct machine *m, const struct event *event)
{
	uint64_t gfn = event->address >> 12, target = (uint64_t)gfn_of(event->value);

	if (event->kind != EVENT_STORE)
		return;
	if (gfn < (uint64_t)m->pages && m->frames[gfn].first_slot != NONE)
		FETCH(m->sptes[m->frames[gfn].first_slot][(event->address & 4095) >> 3]);
	if (event->value & PTE_PRESENT && target < (uint64_t)m->pages) {
		__builtin_prefetch(&m->frames[target]);
		FETCH(m->lengths[target]);
		FETCH(m->byte_buckets[1][bucket_of((int64_t)target, 1)]);
	}
}
