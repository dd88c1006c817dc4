/*
 * The events that need no walk: their way is as it was (`guess.h`), and what they find there is simple.
 *
 * Each function here does what the slow path would do, all of it, or nothing and returns false. A build with
 * SHADOWSWEEP_CHECK runs the slow path beside each of them in a second machine (`checked.h`).
 */
#pragma once

#include "counting.h"
#include "descs.h"
#include "faults.h"
#include "guess.h"
#include "layout.h"
#include "mechanism_hooks.h"
#include "memory.h"
#include "paths.h"
#include "pte_write.h"
#include "roots.h"
#include "sptes.h"
#include "state.h"
#include "writes.h"

/* The lanes in which a use of an entry leaves it as it is. */
INLINE lanes_t settled_lanes(const struct spte *entry, bool write)
{
	lanes_t if_read = every_lane_if(!write);

	return entry->present & entry->accessed & ((entry->writable & entry->dirty) | if_read);
}

/* Whether a use at the end of a way changes nothing in any lane. */
INLINE bool is_settled(const struct machine *m, const struct way *way, bool write)
{
	lanes_t big = way->big & settled_lanes(way->upper, write);
	lanes_t small = way->small & settled_lanes(way->leaf, write) & ~way->leaf->speculative;

	return same_lanes(big | small, m->knobs.shadow);
}

/* Whether a fault would find the shadow pages of the guest's present tables on the way, all of level 1 for 4 KiB. */
INLINE bool shadows_guest(const struct machine *m, const struct guess *guess)
{
	return m->headers[slot_at(guess, 3)].gfn == gfn_of(guess->gpte[above(4)]) &&
	       m->headers[slot_at(guess, 2)].gfn == gfn_of(guess->gpte[above(3)]);
}

/* A fault walks through the pages of a way. */
INLINE void walk_way(struct machine *m, const struct vcpu *vcpu, const struct guess *guess, lanes_t lanes)
{
	on_walk(m, vcpu->root, lanes);
	for (int level = 3; level > 0; level--)
		on_walk(m, slot_at(guess, level), lanes);
}

/* A demand fault: the guest has just mapped a page, and no shadow page forbids to map it (FNAME(page_fault)). */
OUT_OF_LINE void quick_fault(struct machine *m, struct vcpu *vcpu, const struct guess *guess, uint64_t gva, lanes_t faults,
			int64_t gfn, int granted, bool write)
{
	int32_t slot = slot_at(guess, 1);
	int index = index_of(gva, 1);

	count_some(m, TALLY_FAULTS, faults);
	top_up(m, vcpu, faults);
	walk_way(m, vcpu, guess, faults);
	struct installed leaf = set_spte(m, vcpu, slot, index, faults, gfn, granted, write, false);
	lanes_t filled = faults & ~leaf.spurious & m->knobs.prefetch;

	if (any(filled))
		prefetch(m, vcpu, slot, index, filled);
	count(m, COUNTER_PF_SPURIOUS, leaf.spurious);
	on_fault(m, vcpu, faults);
	finish_exit(m, faults);
}

/* Store again in lanes whose fault was served, as the guest's instruction does. */
OUT_OF_LINE void repeat_write(struct machine *m, struct vcpu *vcpu, const struct guess *guess, uint64_t gva, int64_t gfn,
			 lanes_t lanes)
{
	const struct spte *leaf = &m->sptes[slot_at(guess, 1)][index_of(gva, 1)];
	lanes_t stores = lanes & leaf->present & leaf->writable;
	struct store op = {
		.gva = gva & ~UINT64_C(7),
		.gpa = gfn << 12 | (int64_t)(gva & 4088),
		.value = read_entry(m, gfn, (int)(gva & 4095) >> 3),
		.width = 8,
		.count = 1,
		.instruction = INSTRUCTION_MOV,
		.live = true,
	};

	use(m, slot_at(guess, 1), index_of(gva, 1), stores, true);
	/* The reverse map became too long, so that the entry is gone again (rmap_recycle). */
	if (UNLIKELY(any(lanes & ~stores)))
		store_in_lanes(m, vcpu, &op, lanes & ~stores);
}

/* A touch of a page that the guest maps by a level-1 table, all lanes through one shadow page of it. */
INLINE bool touch_small(struct machine *m, struct vcpu *vcpu, const struct way *way, uint64_t gva, int access)
{
	const struct guess *guess = way->guess;
	bool write = access & ACCESS_WRITE;
	uint64_t *gpte = guest_entry(m, guess->entry[below(1)] | (uint32_t)index_of(gva, 1));
	int granted = guess->access & access_of(*gpte);
	int64_t gfn = gfn_of(*gpte);

	if (!(*gpte & PTE_PRESENT) || gfn >= m->pages || (write && !(granted & ACC_WRITE)))
		return true;
	lanes_t faults = m->knobs.shadow & ~way->leaf->present;

	if (access & ACCESS_USER_VA)
		faults = NO_LANES;
	else if (write)
		faults |= m->knobs.shadow & ~way->leaf->writable;
	if (any(faults) && (any((m->low | m->obsolete) & faults) || (write && m->frames[gfn].first_slot != NONE) ||
		       !shadows_guest(m, guess) || m->headers[slot_at(guess, 1)].gfn != gfn_of(guess->gpte[above(2)])))
		return false;
	if (!write && !(*gpte & PTE_DIRTY))
		granted &= ~ACC_WRITE;
	uint64_t used = write ? PTE_ACCESSED | PTE_DIRTY : PTE_ACCESSED;

	if (used & ~*gpte)
		*gpte |= used;
	if (write) {
		vcpu->store_va = gva;
		vcpu->store_gfn = (int32_t)gfn;
	}
	if (access & ACCESS_USER_VA)
		return true;
	use_leaf(m, way->leaf, m->knobs.shadow & ~faults, write);
	if (any(faults)) {
		quick_fault(m, vcpu, guess, gva, faults, gfn, granted, write);
		if (write)
			repeat_write(m, vcpu, guess, gva, gfn, faults);
	}
	return true;
}

/* A touch of a page that the guest maps large, where it changes nothing. */
INLINE bool touch_large(struct machine *m, struct vcpu *vcpu, const struct way *way, uint64_t gva, bool write)
{
	uint64_t gpte = way->guess->gpte[above(2)];
	int64_t gfn = (gfn_of(gpte) & ~span_mask(2)) | index_of(gva, 1);

	bool may_write = (way->guess->access & ACC_WRITE) && (gpte & PTE_DIRTY);

	if ((gfn >= m->pages) | (write & !may_write) | !is_settled(m, way, write))
		return false;
	vcpu->store_va = write ? gva : vcpu->store_va;
	vcpu->store_gfn = write ? (int32_t)gfn : vcpu->store_gfn;
	return true;
}

INLINE bool quick_touch(struct machine *m, struct vcpu *vcpu, uint64_t gva, int access)
{
	struct way way = follow(m, vcpu, gva);

	if (!way.guess || !follow_guest(m, vcpu, way.guess))
		return false;
	if (way.guess->is_small)
		return !any(way.big) && touch_small(m, vcpu, &way, gva, access);
	return !(access & ACCESS_USER_VA) && touch_large(m, vcpu, &way, gva, access & ACCESS_WRITE);
}

/* Whether the entries around a trapped store are all there, so that its fault fills none (FNAME(pte_prefetch)). */
static bool is_group_full(struct machine *m, int32_t slot, int index, lanes_t lanes)
{
	int first = index & ~(PREFETCH_SPTES - 1);
	lanes_t present = EVERY_LANE;

	if (!not_full(&m->headers[slot], first))
		return true;
	for (int other = first; other < first + PREFETCH_SPTES; other++)
		present &= m->sptes[slot][other].present;
	return !any(lanes & m->knobs.prefetch & ~present);
}

/* The lanes of a mask in which a store to `gfn` traps now and ever: its spte never becomes writable by a fault. */
INLINE lanes_t denied_lanes(struct machine *m, int64_t gfn, lanes_t lanes, lanes_t *upper)
{
	lanes_t denied = NO_LANES, undecided = lanes;

	*upper = NO_LANES;
	FOR_EACH_SLOT(m, slot, gfn) {
		const struct page *page = &m->headers[slot];

		if (is_direct(page))
			continue;
		if (!is_leaf(page)) {
			*upper |= page->shadowed;
			continue;
		}
		/* Were it a later one that is denied, those before it would go out of sync. */
		lanes_t synced = page->shadowed & ~page->unsync & undecided;

		denied |= synced & ~may_unsync(m, slot, false, synced);
		undecided &= ~synced;
	}
	return lanes & (*upper | denied);
}

/*
 * Whether the fault of a trapped store leaves all links: the guest maps `op->gpa` large and dirty at `op->gva`, and the
 * lanes that trap have a read-only 4 KiB leaf for it that is as mmu_set_spte would make it, but for its dirty bit.
 */
INLINE bool is_plain_trap(struct machine *m, const struct way *way, const struct store *op, lanes_t traps)
{
	const struct guess *guess = way->guess;
	const struct page *page = &m->headers[slot_at(guess, 1)];
	uint64_t gpte = guess->gpte[above(2)];
	int64_t gfn = op->gpa >> 12;

	if (guess->is_small || !(gpte & PTE_DIRTY) || !(guess->access & ACC_WRITE))
		return false;
	if (((gfn_of(gpte) & ~span_mask(2)) | index_of(op->gva, 1)) != gfn || !shadows_guest(m, guess))
		return false;
	if (page->gfn != (gfn & ~span_mask(2)) || (page->key & ACC_ALL) != guess->access)
		return false;
	if (any(traps & way->leaf->odd) || way->leaf->target[SMALL] != gfn)
		return false;
	return is_group_full(m, slot_at(guess, 1), index_of(op->gva, 1), traps);
}

/* A store of one operand that traps in some lanes, changes no link by its fault, and is emulated there. */
OUT_OF_LINE bool quick_trap(struct machine *m, struct vcpu *vcpu, const struct way *way, const struct store *op)
{
	lanes_t used = way->small & way->leaf->present & way->leaf->accessed & ~way->leaf->speculative;
	lanes_t traps = way->small & ~way->leaf->writable, upper;
	int64_t gfn = op->gpa >> 12;

	if (!same_lanes(used, way->small) || any(way->big & ~settled_lanes(way->upper, true)) || op->count > 1 ||
	    is_rep(op->instruction) || any(may_retry(m, op->instruction, traps)) || any((m->low | m->obsolete) & traps) ||
	    (!op->live && any(traps & m->knobs.oracle)))
		return false;
	if (!same_lanes(denied_lanes(m, gfn, traps, &upper), traps) || !is_plain_trap(m, way, op, traps) ||
	    !follow_guest(m, vcpu, way->guess))
		return false;
	lanes_t shortcut = traps & upper & m->knobs.shortcut, locked = traps & ~shortcut;

	/* What was dirty before it was write-protected is so no more, and the TLBs must know. */
	lanes_t cleaned = locked & way->leaf->dirty;

	way->leaf->dirty = (way->leaf->dirty & ~cleaned) | (way->small & ~traps);
	flush_remote(m, cleaned);
	count_some(m, TALLY_FAULTS, traps);
	count_some(m, COUNTER_PF_EMULATE, traps);
	count(m, TALLY_SHORTCUTS, shortcut);
	top_up(m, vcpu, locked);
	walk_way(m, vcpu, way->guess, traps);
	if (any(locked))
		walk_chain(m, gfn, locked, 1);
	write_memory(m, op);
	on_trap(m, vcpu, op->gva, op->instruction, traps);
	count_some(m, COUNTER_PAGE_WALKS, traps);
	pte_write(m, vcpu, op->gpa, op->width, traps, op->live, true);
	finish_exit(m, traps);
	return true;
}

/* A store that hits in all lanes, or traps in some of them without consequences for its own way. */
INLINE bool quick_store(struct machine *m, struct vcpu *vcpu, const struct store *op)
{
	struct way way = follow(m, vcpu, op->gva);

	if (!way.guess)
		return false;
	if (is_settled(m, &way, true)) {
		write_memory(m, op);
		return true;
	}
	return any(way.small) && quick_trap(m, vcpu, &way, op);
}
