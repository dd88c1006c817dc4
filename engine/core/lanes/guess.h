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
	uint64_t region;   /* 1 + address >> LARGE_SHIFT; 0: none */
	uint64_t gpte[3];  /* guest entries of levels 4, 3 and 2 */
	uint32_t entry[3]; /* place of the guest's entries of levels 3, 2 and 1 (the first of its table); the last: or 0 */
	uint32_t spte[3];  /* the same of the shadow pages that all lanes go to */
	uint16_t top;      /* index in the tables of level 4 */
	uint16_t access;   /* what the three guest entries grant */
	bool is_small;     /* the guest has a level-1 table */
};
_Static_assert(sizeof(struct guess) == 64, "a guess is one cache line");

/* Index of a level in the arrays of a guess. */
INLINE int below(int level)
{
	return ROOT_LEVEL - 1 - level;
}

INLINE int above(int level)
{
	return ROOT_LEVEL - level;
}

/* The shadow page of a level. */
INLINE int32_t slot_at(const struct guess *guess, int level)
{
	return slot_of((int32_t)guess->spte[below(level)]);
}

/* Make a slot the root of a vCPU. The product spreads the roots over the guesses. */
INLINE void set_root(struct vcpu *vcpu, int32_t slot)
{
	vcpu->root = slot;
	vcpu->first_guess = (uint64_t)slot * 61;
}

/* The place of a guess. All processes share the kernel's half of the address space; each has its own of the other. */
INLINE struct guess *guess_of(struct machine *m, const struct vcpu *vcpu, uint64_t gva)
{
	uint64_t is_user = (gva >> 63) - 1;

	return &m->guesses[((gva >> LARGE_SHIFT) + (vcpu->first_guess & is_user)) % GUESSES];
}

/* A way that a guess foresaw and that is as it was. */
struct way {
	const struct guess *guess; /* NULL: it is not */
	struct spte *upper;        /* level-2 entry, and the lanes that map large there or go on to `leaf` */
	struct spte *leaf;
	lanes_t big;
	lanes_t small;
};

/*
 * Follow a guess through the shadow pages; every lane ends at the level-2 entry or at the leaf below it. Entries of
 * levels 3 and 4 are never large leaves. All that may be out of date is looked at before anything is decided: one branch
 * that is foreseen well costs less than many.
 */
INLINE struct way follow(struct machine *m, const struct vcpu *vcpu, uint64_t gva)
{
	const struct guess *guess = guess_of(m, vcpu, gva);
	const struct spte *top = &m->sptes[(uint32_t)vcpu->root % SLOTS][guess->top];
	const struct spte *next = entry_of(m, (int32_t)guess->spte[below(3)]);
	struct spte *upper = entry_of(m, (int32_t)guess->spte[below(2)]);
	uint32_t leaves = guess->spte[below(1)];
	lanes_t lanes = m->knobs.shadow;
	lanes_t through = vcpu->valid & top->present & ~top->odd & next->present & ~next->odd & upper->present;
	lanes_t big = lanes & upper->large, small = lanes & ~upper->large;
	lanes_t elsewhere = upper->target[SMALL] == slot_of((int32_t)leaves) && leaves ? small & upper->odd : small;
	bool is_same = (guess->region == (gva >> LARGE_SHIFT) + 1) & (top->target[SMALL] == slot_at(guess, 3)) &
		       (next->target[SMALL] == slot_at(guess, 2));

	return (struct way){
		.guess = (is_same & !any((lanes & ~through) | elsewhere)) ? guess : NULL,
		.upper = upper,
		.leaf = entry_of(m, (int32_t)(leaves ? leaves | (uint32_t)index_of(gva, 1) : 0)),
		.big = big,
		.small = small,
	};
}

/* The guest's entry at a place. */
INLINE uint64_t *guest_entry(struct machine *m, uint32_t place)
{
	return *m->tables + place;
}

/* Whether the guest's upper entries are as they were, accessed bits and all. */
INLINE bool follow_guest(struct machine *m, const struct vcpu *vcpu, const struct guess *guess)
{
	uint64_t top = read_entry(m, vcpu->cr3, guess->top);

	return (guess->gpte[above(2)] != 0) & (top == guess->gpte[above(4)]) &
	       (*guest_entry(m, guess->entry[below(3)]) == guess->gpte[above(3)]) &
	       (*guest_entry(m, guess->entry[below(2)]) == guess->gpte[above(2)]);
}

/* Note the guest's part of a way; without a whole one the guess serves stores only. */
static void guess_guest(struct machine *m, const struct vcpu *vcpu, struct guess *guess, uint64_t gva)
{
	int64_t table = vcpu->cr3;

	guess->access = ACC_ALL;
	guess->is_small = false;
	memset(guess->gpte, 0, sizeof guess->gpte);
	memset(guess->entry, 0, sizeof guess->entry);
	for (int level = ROOT_LEVEL; level > 1; level--) {
		uint64_t gpte = read_entry(m, table, index_of(gva, level));
		bool is_large = is_large_entry(gpte, level);

		if (!(gpte & PTE_PRESENT) || !(gpte & PTE_ACCESSED) || (is_large && level > 2))
			return;
		guess->access &= (uint16_t)access_of(gpte);
		table = gfn_of(gpte);
		if (!is_large) {
			if (table >= m->pages || m->frames[table].table == NONE)
				return;
			guess->is_small = level == 2;
			guess->entry[below(level - 1)] = (uint32_t)m->frames[table].table << INDEX_BITS;
			if (level > 2)
				guess->entry[below(level - 1)] |= (uint32_t)index_of(gva, level - 1);
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
	if (any(lanes & ~vcpu->valid) || vcpu->cr3 == NO_GFN)
		return;
	for (int level = ROOT_LEVEL; level > 2; level--) {
		const struct spte *entry = &m->sptes[slot][index_of(gva, level)];

		if (any(lanes & ~(entry->present & ~entry->large & ~entry->odd)))
			return;
		slot = entry->target[SMALL];
		guess->spte[below(level - 1)] = (uint32_t)spte_of(slot, index_of(gva, level - 1));
	}
	const struct spte *upper = &m->sptes[slot][index_of(gva, 2)];
	bool goes_on = any(upper->present & ~upper->large & ~upper->odd & lanes);

	guess->top = (uint16_t)index_of(gva, ROOT_LEVEL);
	guess->spte[below(1)] = goes_on ? (uint32_t)spte_of(upper->target[SMALL], 0) : 0;
	guess_guest(m, vcpu, guess, gva);
	guess->region = (gva >> LARGE_SHIFT) + 1;
}
