/* Have the memory of events to come brought near, while the events before them are carried out. */
#pragma once

#include "guess.h"
#include "layout.h"
#include "memory.h"
#include "slots.h"
#include "state.h"

enum { EVENTS_AHEAD = 8 };

/* Fetch what a store will look at: the shadow of the entry, and the frame that it maps, which lanes will map soon. */
INLINE void look_at_store(struct machine *m, const struct event *event)
{
	uint64_t gfn = event->address >> 12, target = (uint64_t)gfn_of(event->value);

	if (gfn < (uint64_t)m->pages && m->frames[gfn].first_slot != NONE)
		__builtin_prefetch(&m->sptes[m->frames[gfn].first_slot][(event->address & 4095) >> 3]);
	if (event->value & PTE_PRESENT && target < (uint64_t)m->pages) {
		__builtin_prefetch(&m->frames[target]);
		__builtin_prefetch(&m->lengths[target]);
		__builtin_prefetch(&m->byte_buckets[1][bucket_of((int64_t)target, 1)]);
	}
}

/*
 * Fetch what an event will look at. Where a guess leads is found without branches, as there is no telling whether it
 * will be one for this address: entry 0 stands for none.
 */
INLINE void look_ahead(struct machine *m, const struct event *event)
{
	bool is_store = event->kind == EVENT_STORE;
	uint64_t gva = is_store ? DIRECT_MAP_BASE + event->address : event->address;
	const struct guess *guess = guess_of(m, &m->vcpus[event->vcpu % VCPUS], gva);
	uint32_t is_guessed = 0 - (uint32_t)(guess->region == (gva >> LARGE_SHIFT) + 1);
	uint32_t is_small = is_guessed & (0 - (uint32_t)guess->is_small), index = (uint32_t)index_of(gva, 1);

	__builtin_prefetch(entry_of(m, (int32_t)((guess->spte[below(1)] | index) & is_guessed)));
	__builtin_prefetch(guest_entry(m, (guess->entry[below(1)] | index) & is_small));
	if (is_store)
		look_at_store(m, event);
}
