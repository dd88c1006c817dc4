/* Counting in lanes. A counter that is the sum of others is not counted but derived when it is read. */
#pragma once

#include "state.h"

enum { ADDS_MAX = 255, HASH_ROOM = 65535 };

static void empty_bytes(struct tallies *tallies, int which)
{
	words_t numbers;

	widen_bytes(&numbers, &tallies->bytes[which]);
	add_to_totals(tallies->totals[which], &numbers, 1);
	memset(&tallies->bytes[which], 0, sizeof tallies->bytes[which]);
	tallies->adds[which] = 0;
}

static void empty_hash_steps(struct tallies *tallies)
{
	add_to_totals(tallies->totals[COUNTER_HASH_STEPS], &tallies->hash_steps, 1);
	memset(&tallies->hash_steps, 0, sizeof tallies->hash_steps);
	tallies->hash_room = HASH_ROOM;
}

/* Add 1 in lanes, at least one of them. */
INLINE void count_some(struct machine *m, int which, lanes_t lanes)
{
	struct tallies *now = m->now;

	increment(&now->bytes[which], lanes);
	if (UNLIKELY(++now->adds[which] == ADDS_MAX))
		empty_bytes(now, which);
}

INLINE void count(struct machine *m, int which, lanes_t lanes)
{
	if (any(lanes))
		count_some(m, which, lanes);
}

/* Add the same amount in lanes. */
static void count_amount(struct machine *m, int which, lanes_t lanes, int64_t amount)
{
	uint64_t *totals = m->now->totals[which];

	FOR_EACH_LANE(lane, lanes)
		totals[lane] += (uint64_t)amount;
}

/* Add a number of its own in each of the lanes. */
INLINE void count_words(struct machine *m, int which, const words_t *numbers, lanes_t lanes)
{
	words_t counted = {0};

	add_words(&counted, numbers, lanes);
	add_to_totals(m->now->totals[which], &counted, 1);
}

/* The value of one counter in a lane that shadows, from what was counted. */
static int64_t derived(const uint64_t (*total)[LANES], const struct tallies *of, int32_t vcpus, int which, int lane)
{
#define TOTAL(name) ((int64_t)total[name][lane])
	int64_t faults = TOTAL(TALLY_FAULTS), guest_faults = (int64_t)of->guest_faults;

	switch (which) {
	case COUNTER_EXITS:
		return faults + guest_faults + TOTAL(COUNTER_INVLPG) + TOTAL(COUNTER_CR3_LOADS) + TOTAL(COUNTER_EXITS);
	case COUNTER_PF_TAKEN:
		return faults + guest_faults;
	case COUNTER_PF_GUEST:
		return guest_faults;
	case COUNTER_PF_FIXED:
		return faults - TOTAL(COUNTER_PF_EMULATE) - TOTAL(COUNTER_PF_SPURIOUS) - TOTAL(TALLY_OBSOLETE);
	case COUNTER_INSN_EMULATION:
		return TOTAL(COUNTER_PF_EMULATE);
	case COUNTER_PAGE_WALKS:
		return faults + guest_faults + TOTAL(COUNTER_PAGE_WALKS);
	case COUNTER_LOCK_ACQUISITIONS:
		return faults - TOTAL(TALLY_SHORTCUTS) + TOTAL(COUNTER_MMU_PTE_WRITE) + TOTAL(COUNTER_LOCK_ACQUISITIONS);
	case COUNTER_MMU_UNSYNC:
		return TOTAL(COUNTER_UNSYNC_EVENTS) - TOTAL(COUNTER_SYNC_EVENTS) - TOTAL(TALLY_ZAPPED_UNSYNC);
	case COUNTER_FLUSH_IPIS:
		return TOTAL(COUNTER_REMOTE_TLB_FLUSH) * (vcpus - 1);
	default:
		return TOTAL(which);
	}
#undef TOTAL
}

/* Write the counters of one activity so far to `into[lane][counter]`. */
static void read_tallies(struct machine *m, struct tallies *of, int64_t (*into)[COUNTERS], int lanes)
{
	for (int which = 0; which < TALLIES; which++)
		empty_bytes(of, which);
	empty_hash_steps(of);
	for (int lane = 0; lane < lanes; lane++) {
		bool shadows = has(m->knobs.shadow, lane);

		for (int which = 0; which < COUNTERS; which++)
			into[lane][which] = shadows ? derived((const uint64_t(*)[LANES])of->totals, of, m->vcpus_used, which, lane)
						    : (int64_t)of->totals[which][lane];
		into[lane][COUNTER_GUEST_TOUCHES] = (int64_t)of->touches;
		into[lane][COUNTER_GUEST_STORES] = (int64_t)of->stores;
		into[lane][COUNTER_GUEST_RUN_NS] = (int64_t)of->run_ns;
	}
}
