/*
 * Where the way to an address led last time, for all lanes together.
 *
 * Most events change nothing in any lane, yet each would walk four guest tables and four shadow pages, one after the
 * other. A guess remembers, for 2 MiB of addresses, which tables and shadow pages those were. It is no more than a place
 * to look: `follow` reads every link on the way anew and believes none that is not as it was, so that a guess can be
 * out of date but never wrong, and nothing has to be forgotten anywhere when links change.
 */
#pragma once

#include "memory.h"
#include "state.h"

enum { GUESSES = 4096 };

struct guess {
	uint64_t region; /* 1 + address >> 21; 0: none */
	uint64_t gpte[3]; /* guest entries of levels 4, 3 and 2 */
	int32_t slot[3];  /* shadow pages of levels 3, 2 and 1 that all lanes go to; the last may be NONE */
	int32_t table[3]; /* contents of the guest's tables of these levels; the last is NONE if it maps the region large */
	uint32_t leaves;  /* first entry of the level-1 shadow page, or 0 */
	uint16_t access;  /* what the three guest entries grant */
	bool is_small;    /* there is a level-1 table */
};
_Static_assert(sizeof(struct guess) == 64, "a guess is one cache line");

/* Index of a level in the arrays of a guess. */
INLINE int below(int level)
{
	return 3 - level;
}

INLINE int above(int level)
{
	return ROOT_LEVEL - level;
}

/* The place of a guess. All processes share the kernel's half of the address space; each has its own of the other. */
INLINE struct guess *guess_of(struct machine *m, const struct vcpu *vcpu, uint64_t gva)
{
	uint64_t is_user = (gva >> 63) - 1;

	return &m->guesses[((gva >> 21) + ((uint64_t)vcpu->root * 61 & is_user)) % GUESSES];
}

/* A way that a guess foresaw and that is as it was. */
struct way {
	const struct guess *guess; /* NULL: it is not */
	struct spte *upper;        /* level-2 entry, and the lanes that map large there or go on to `leaf` */
	struct spte *leaf;
	lanes_t big;
	lanes_t small;
};

/* Whether an entry of level 3 or 4, which is never a large leaf, leads to `slot` in all lanes. */
INLINE bool links_to(const struct spte *entry, int32_t slot, lanes_t lanes)
{
	return entry->target[SMALL] == slot && !(lanes & ~(entry->present & ~entry->odd));
}

/* Follow a guess through the shadow pages; every lane ends at the level-2 entry or at the leaf below it. */
INLINE struct way follow(struct machine *m, const struct vcpu *vcpu, uint64_t gva)
{
	const struct guess *guess = guess_of(m, vcpu, gva);
	lanes_t lanes = m->knobs.shadow;
	struct way way = {0};

	if (guess->region != (gva >> 21) + 1 || lanes & ~vcpu->valid)
		return way;
	if (!links_to(&m->sptes[vcpu->root][index_of(gva, 4)], guess->slot[below(3)], lanes) ||
	    !links_to(&m->sptes[guess->slot[below(3)]][index_of(gva, 3)], guess->slot[below(2)], lanes))
		return way;
	way.upper = &m->sptes[guess->slot[below(2)]][index_of(gva, 2)];
	way.big = lanes & way.upper->present & way.upper->large;
	way.small = lanes & way.upper->present & ~way.upper->large;
	if ((way.big | way.small) != lanes)
		return way;
	if (way.small && (way.upper->odd & way.small || way.upper->target[SMALL] != guess->slot[below(1)]))
		return way;
	way.leaf = way.small ? &m->sptes[guess->slot[below(1)]][index_of(gva, 1)] : NULL;
	way.guess = guess;
	return way;
}

/* Whether the guest's upper entries are as they were, accessed bits and all. */
INLINE bool follow_guest(const struct machine *m, const struct vcpu *vcpu, const struct guess *guess, uint64_t gva)
{
	return guess->gpte[above(2)] && read_entry(m, vcpu->cr3, index_of(gva, 4)) == guess->gpte[above(4)] &&
	       m->tables[guess->table[below(3)]][index_of(gva, 3)] == guess->gpte[above(3)] &&
	       m->tables[guess->table[below(2)]][index_of(gva, 2)] == guess->gpte[above(2)];
}

/* Note the guest's part of a way; without a whole one the guess serves stores only. */
static void guess_guest(struct machine *m, const struct vcpu *vcpu, struct guess *guess, uint64_t gva)
{
	int64_t table = vcpu->cr3;

	guess->access = ACC_ALL;
	guess->table[below(1)] = NONE;
	guess->is_small = false;
	memset(guess->gpte, 0, sizeof guess->gpte);
	for (int level = ROOT_LEVEL; level > 1; level--) {
		uint64_t gpte = read_entry(m, table, index_of(gva, level));
		bool is_large = gpte & G_LARGE && level < ROOT_LEVEL;

		if (!(gpte & G_PRESENT) || !(gpte & G_ACCESSED) || (is_large && level > 2))
			return;
		guess->access &= (uint16_t)access_of(gpte);
		table = gfn_of(gpte);
		if (!is_large) {
			if (table >= m->pages || m->frames[table].table == NONE)
				return;
			guess->table[below(level - 1)] = m->frames[table].table;
			guess->is_small = level == 2;
		}
		guess->gpte[above(level)] = gpte;
	}
}

/* Remember the way to an address, if all lanes take the same. */
OUT_OF_LINE void remember_way(struct machine *m, const struct vcpu *vcpu, uint64_t gva)
{
	struct guess *guess = guess_of(m, vcpu, gva);
	lanes_t lanes = m->knobs.shadow;
	int32_t slot = vcpu->root;

	guess->region = 0;
	if (lanes & ~vcpu->valid || vcpu->cr3 == NONE)
		return;
	for (int level = ROOT_LEVEL; level > 2; level--) {
		const struct spte *entry = &m->sptes[slot][index_of(gva, level)];

		if (lanes & ~(entry->present & ~entry->large & ~entry->odd))
			return;
		slot = entry->target[SMALL];
		guess->slot[below(level - 1)] = slot;
	}
	const struct spte *upper = &m->sptes[slot][index_of(gva, 2)];
	bool goes_on = upper->present & ~upper->large & ~upper->odd & lanes;

	guess->slot[below(1)] = goes_on ? upper->target[SMALL] : NONE;
	guess->leaves = goes_on ? (uint32_t)upper->target[SMALL] << 9 : 0;
	guess_guest(m, vcpu, guess, gva);
	guess->region = (gva >> 21) + 1;
}
