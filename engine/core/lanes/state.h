/*
 * The state of a word of hypervisors that see one trace.
 *
 * All policies see the same guest tables, so at any event they look at the same (gfn, role) and the same entry. A slot
 * is one (gfn, role) that at least one lane shadows; `headers[slot]` is its header and `sptes[slot][index]` an entry in
 * all lanes at once. Entries, slots, frames and tables are numbers, not pointers: half the size, and checked easily.
 *
 * The machine is made of mappings of zeros that the system fills in as they are touched, so room is generous and fixed.
 */
#pragma once

#include "../checks.h"
#include "capacity.h"
#include "x86.h"
#include "mechanism_state.h"
#include "numbers.h"
#include "word.h"

/* Neighbours of an entry among those with the same target: the reverse map, or the parents of a shadow page. */
struct chain {
	int32_t next;
	int32_t previous;
};

enum { SPTE_BYTES = LANES == 16 ? 32 : LANES };

/*
 * One entry of a shadow page, and in which lanes what holds of it: half a cache line, one, or eight. What is looked at together
 * is side by side, because CPUs fetch lines in pairs.
 */
struct spte {
	_Alignas(SPTE_BYTES) int32_t target[2]; /* SMALL: gfn of a 4 KiB leaf, or slot of a link; BIG: first gfn of a large leaf */
	lanes_t present;
	lanes_t odd; /* lanes whose target is in the odd table and not here */
	union {
		lanes_t speculative; /* level 1: installed before the guest asked */
		lanes_t large;       /* level 2 and up: a large leaf and no link */
	};
	lanes_t accessed;
	union {
		struct chain chain; /* level 1: the entries that map the same frame; zeros while it is in no list */
		lanes_t below;      /* level 2 and up: an out-of-sync leaf may lie below the link */
	};
	lanes_t writable;
	lanes_t dirty;
};
_Static_assert(sizeof(struct spte) == SPTE_BYTES, "an entry is half a cache line, one, or eight");

enum kind { SMALL, BIG };

/* Header of a slot: one cache line of what is looked at often, and more. */
struct page {
	_Alignas(64) lanes_t shadowed;
	lanes_t unsync;
	lanes_t below_any; /* lanes in which some entry has `below` */
	int32_t gfn;
	int32_t key; /* level << 4 | direct << 3 | access; sorts as the role does. 0: the slot is free */
	int32_t sibling; /* next slot of the gfn, by key */
	int32_t first_parent; /* first entry that links here */
	int32_t first_odd;    /* first odd entry that links here */
	bool is_deferred;
	STATE_OF_PAGE
	_Alignas(64) uint64_t occupied[PARTS]; /* entries that are present in any lane */
	uint64_t full[PARTS]; /* entries that are present in all lanes that shadow */
	uint64_t below[PARTS]; /* entries with `below` in any lane */
	int64_t stamp;     /* collection << PLACE_BITS | place on the work list */
};

struct frame {
	int32_t table; /* number of its contents among `tables` */
	int32_t first_slot;
	int32_t first_spte;
	int32_t first_odd;
};

/* 2 MiB of guest memory. */
struct region {
	words_t shadowed_count; /* indirect shadow pages of its gfns */
	lanes_t shadowed;       /* lanes in which that is not 0 */
	int32_t first_spte;     /* large leaves */
	int32_t first_odd;
};

/* The target of one entry in one lane that disagrees with the others. */
struct odd {
	uint64_t key; /* entry << LANE_BITS | lane */
	int32_t target;
	int32_t next; /* of the same target */
	int32_t previous;
	int32_t hash_next;
};

/* A slot and some lanes: what is still to be done. */
struct item {
	int32_t slot;
	lanes_t lanes;
};

struct vcpu {
	/* The CPU and what its last write touch announced. */
	int32_t cr3; /* gfn of the root table */
	int32_t root; /* slot of the current root, in the lanes of `valid` */
	uint64_t first_guess; /* guess.h: where the guesses of that root begin */
	int32_t store_gfn;
	uint64_t store_va;

	lanes_t valid;
	lanes_t zapped;
	lanes_t flush;
	lanes_t flush_current;
	lanes_t low_desc; /* pte_list_desc cache below its minimum */

	bytes_t descs; /* objects left in the pte_list_desc cache */
	numbers_t cached_roots[CACHED_ROOTS]; /* last used first; NONE, or -slot of a root that was zapped */
	STATE_OF_VCPU
};

/* Lanes that have a knob switched on, and knobs that are numbers. */
struct knob_lanes {
	lanes_t all, shadow, oracle, update;
	lanes_t prefetch, prefetch_stops;
	lanes_t sync_zaps_empty, create_zaps_unsync, shortcut;
	lanes_t recycle_skips_roots, recycle_in_write, large_drop, host_large;
	lanes_t invlpg_3_0, invlpg_6_1, topup_in_write, hash_64;
	bytes_t desc_minimum;
	numbers_t pool;
	numbers_t rep_limit;
	lanes_t caches[CACHED_ROOTS]; /* lanes that cache more roots than that */
	/* The different values of desc_entries and the lanes of each; 0 ends the list. */
	int32_t desc_entries[LANES + 1];
	lanes_t desc_lanes[LANES];
	STATE_OF_KNOBS
};

/* What is counted, beside the counters of the vocabulary: `counting.h` derives those from these. */
enum tally {
	TALLY_FAULTS = COUNTERS, /* faults that the guest's own tables allow */
	TALLY_SHORTCUTS,         /* emulated by the short cut, without the lock */
	TALLY_OBSOLETE,          /* ended because the root was zapped on the way */
	TALLY_ZAPPED_UNSYNC,     /* out-of-sync pages that were zapped */
	TALLIES
};

/* Counts of one activity. Bytes are emptied into totals before any can overflow. */
struct tallies {
	bytes_t bytes[TALLIES];
	uint8_t adds[TALLIES];
	words_t hash_steps;
	uint32_t hash_room; /* how much may be added to any lane of `hash_steps` */
	uint64_t touches;
	uint64_t stores;
	uint64_t run_ns;
	uint64_t guest_faults;
	uint64_t totals[TALLIES][LANES];
};

/* The last walk of the guest's tables. */
struct walk {
	int64_t gfn;
	int level;
	int access;
	int32_t table[ROOT_LEVEL + 1];       /* by level: gfn of the table */
	int table_access[ROOT_LEVEL + 1];    /* by level: access that the entries above grant */
};

struct guess;

struct machine {
	/* What is read at nearly every event. */
	struct knob_lanes knobs;
	struct tallies *now; /* those of the activity of the present event */
	int64_t pages;       /* frames of guest memory */
	struct event_limits limits;
	int wrong; /* with the event at which the machine stopped */
	/* As many as the guest has. */
	struct frame *frames;
	bytes_t *lengths; /* of the reverse map; all 255: they are in `wide_lengths` */
	words_t *wide_lengths;
	struct region *regions;
	int32_t vcpus_used;
	lanes_t low;      /* pool has fewer than KVM_MIN_FREE_MMU_PAGES left */
	lanes_t obsolete; /* a root that some vCPU holds was zapped */
	lanes_t indirect; /* there is any indirect shadow page */
	lanes_t flush;    /* some vCPU has a flush pending */
	struct walk walk;

	bool has_grown;     /* something was taken of what is limited */
	int32_t slots_made; /* slots below this one were made */
	int32_t slots_free; /* the first so many of `free` */
	int32_t tables_made;
	int32_t odd_used;
	int32_t odd_free; /* first of the odd entries that were given back, linked by `next` */
	int32_t odd_made;
	int32_t deferred_used;
	int32_t work_used;
	int64_t stamp;
	int32_t highest_bucket; /* no bucket ever held more */
	bool wide_buckets;      /* one held more than a byte does */

	numbers_t used;
	numbers_t peak;
	numbers_t indirect_count; /* indirect shadow pages */
	numbers_t freed; /* pages freed since somebody set it to 0 */
	numbers_t done; /* operands of the present store that were stored */

	struct guess *guesses; /* guess.h */
	struct machine *beside; /* checked builds: the machine that takes the slow path only */

	struct tallies tallies[ACTIVITIES];
	struct vcpu vcpus[VCPUS];
	bytes_t byte_buckets[2][HASH_BUCKETS]; /* valid shadow pages in each hash chain, as long as bytes hold them */
	words_t word_buckets[2][HASH_BUCKETS];

	struct page headers[SLOTS];
	STATE_OF_MACHINE
	words_t present_count[SLOTS]; /* level 1: present entries */
	struct spte sptes[SLOTS][ENTRIES];
	struct chain chains[2][SLOTS][ENTRIES]; /* level 2 and up: by kind */
	/* The pages of each lane's pool in a ring that slot NONE closes: newer than it is the oldest, older the newest. */
	numbers_t older[SLOTS];
	numbers_t newer[SLOTS];
	uint64_t tables[TABLES][ENTRIES];

	struct odd odds[ODD_ENTRIES];
	int32_t odd_heads[2 * ODD_ENTRIES]; /* hash table of the odd entries: the first of each bucket */
	int32_t free[SLOTS];
	int32_t deferred[SLOTS]; /* slots that no lane uses any more */
	struct item work[WORK_ITEMS]; /* a stack of lists */
	struct item climb[WORK_ITEMS]; /* stack of one walk down the links */
};

INLINE int level_of(const struct page *page)
{
	return page->key >> 4;
}

INLINE bool is_leaf(const struct page *page)
{
	return page->key >> 4 == 1;
}

/* Whether a slot maps a part of a guest large page and shadows no table. */
INLINE bool is_direct(const struct page *page)
{
	return page->key & 8;
}

INLINE int32_t key_of(int level, bool direct, int access)
{
	return level << 4 | (int32_t)direct << 3 | access;
}

INLINE int32_t spte_of(int32_t slot, int index)
{
	return slot << INDEX_BITS | index;
}

INLINE int32_t slot_of(int32_t spte)
{
	return spte >> INDEX_BITS;
}

/* The index of an entry in its shadow page. */
INLINE int place_of(int32_t spte)
{
	return spte & (ENTRIES - 1);
}

/* 2 MiB of guest memory. */
INLINE struct region *region_of(struct machine *m, int64_t gfn)
{
	return &m->regions[gfn >> INDEX_BITS];
}

INLINE struct spte *entry_of(struct machine *m, int32_t spte)
{
	return *m->sptes + spte;
}

/* For each slot of a gfn, lowest role first. */
#define FOR_EACH_SLOT(m, slot, of_gfn) \
	for (int32_t slot = (m)->frames[of_gfn].first_slot; slot != NONE; slot = (m)->headers[slot].sibling)

/* For each entry of a bitmap of them, lowest first. The bitmap may lose bits on the way. */
#define FOR_EACH_ENTRY(index, bitmap) \
	for (int index##_part = 0; index##_part < PARTS; index##_part++) \
		for (uint64_t index##_bits = (bitmap)[index##_part]; index##_bits; index##_bits &= index##_bits - 1) \
			for (int index = index##_part * 64 + __builtin_ctzll(index##_bits), index##_once = 1; index##_once; \
			     index##_once = 0)

INLINE void set_entry(uint64_t *bitmap, int index)
{
	bitmap[index >> 6] |= (uint64_t)1 << (index & 63);
}

INLINE void clear_entry(uint64_t *bitmap, int index)
{
	bitmap[index >> 6] &= ~((uint64_t)1 << (index & 63));
}
