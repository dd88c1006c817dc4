/* Have the memory of events to come brought near, while the events before them are carried out. */
#pragma once

#include "guess.h"
#include "layout.h"
#include "memory.h"
#include "slots.h"
#include "state.h"

enum { EVENTS_AHEAD = 8 };

/*
 * Fetch what an event will look at: the entries that its guess leads to, and of a stored entry its shadow and the frame
 * that it maps, which lanes will map soon after. There is no telling the kinds of the next events, so that nothing here branches: what
 * an event does not need is fetched from place 0, which is near already.
 */
INLINE void look_ahead(struct machine *m, const struct event *event)
{
	bool is_store = event->kind == EVENT_STORE;
	uint64_t gva = is_store ? DIRECT_MAP_BASE + event->address : event->address;
	const struct guess *guess = guess_of(m, &m->vcpus[event->vcpu], gva);
	bool is_guessed = guess->region == (gva >> 21) + 1;
	bool has_slot = is_guessed & (guess->slot[below(1)] != NONE), has_table = is_guessed & (guess->table[below(1)] != NONE);
	int32_t slot = has_slot ? guess->slot[below(1)] : 0;
	int32_t table = has_table ? guess->table[below(1)] : 0;
	uint64_t target = (uint64_t)gfn_of(event->value);
	int index = index_of(gva, 1);

	uint64_t gfn = event->address >> 12;
	bool is_table = is_store & (gfn < (uint64_t)m->pages);
	bool is_mapping = is_store & (event->value & G_PRESENT) & (target < (uint64_t)m->pages);
	int32_t shadow = m->frames[is_table ? gfn : 0].first_slot;

	target = is_mapping ? target : 0;
	__builtin_prefetch(&m->sptes[slot][slot ? index : 0]);
	__builtin_prefetch(&m->tables[table][table ? index : 0]);
	__builtin_prefetch(&m->chains[table ? slot : 0][table ? index : 0]);
	__builtin_prefetch(&m->sptes[shadow == NONE ? 0 : shadow][shadow == NONE ? 0 : (event->address & 4095) >> 3]);
	__builtin_prefetch(&m->frames[target]);
	__builtin_prefetch(&m->lengths[target]);
	__builtin_prefetch(&m->byte_buckets[1][bucket_of((int64_t)target, 1)]);
}
