/* Entries of shadow pages in lanes: install, drop, find what maps a frame, take write access away. */
#pragma once

#include "counting.h"
#include "lengths.h"
#include "odd.h"
#include "state.h"

/* The lanes in which an entry is a large leaf. */
INLINE lanes_t large_lanes(const struct machine *m, int32_t slot, int index)
{
	const struct spte *entry = &m->sptes[slot][index];

	return is_leaf(&m->headers[slot]) ? NO_LANES : entry->large & entry->present;
}

/* The lanes in which an entry is present; the bitmap spares a look at one that is absent in all. */
INLINE lanes_t present_at(const struct machine *m, int32_t slot, int index)
{
	bool occupied = m->headers[slot].occupied[index >> 6] >> (index & 63) & 1;

	return occupied ? m->sptes[slot][index].present : NO_LANES;
}

/* The first entry of the list of those with the same target: of a region, a frame or a shadow page. */
INLINE int32_t *head_of(struct machine *m, enum kind kind, int32_t target, bool leaf)
{
	if (kind == BIG)
		return &region_of(m, target)->first_spte;
	if (leaf)
		return &m->frames[target].first_spte;
	return &m->headers[target].first_parent;
}

/* Where the neighbours of an entry are: of a level-1 `leaf` at hand in itself, of the few others apart. */
INLINE struct chain *chain_of(struct machine *m, int32_t spte, enum kind kind, bool leaf)
{
	return leaf ? &entry_of(m, spte)->chain : &m->chains[kind][slot_of(spte)][place_of(spte)];
}

/* The next 4 KiB leaf that maps the same frame. */
INLINE int32_t next_leaf(struct machine *m, int32_t spte)
{
	return entry_of(m, spte)->chain.next;
}

/* The next link to the same shadow page. */
INLINE int32_t next_parent(const struct machine *m, int32_t spte)
{
	return m->chains[SMALL][slot_of(spte)][place_of(spte)].next;
}

/* Put an entry at the front of its list (pte_list_add). */
INLINE void enter_list(struct machine *m, int32_t slot, int index, enum kind kind, int32_t target)
{
	bool leaf = is_leaf(&m->headers[slot]);
	int32_t spte = spte_of(slot, index), *head = head_of(m, kind, target, leaf);

	*chain_of(m, spte, kind, leaf) = (struct chain){*head, NONE};
	if (*head != NONE)
		chain_of(m, *head, kind, leaf)->previous = spte;
	*head = spte;
}

/* Take an entry out of its list (pte_list_remove). */
INLINE void leave_list(struct machine *m, int32_t slot, int index, enum kind kind, int32_t target, bool leaf)
{
	struct chain *chain = chain_of(m, spte_of(slot, index), kind, leaf);
	int32_t after = chain->next, before = chain->previous;

	*chain = (struct chain){0, 0};
	if (after != NONE)
		chain_of(m, after, kind, leaf)->previous = before;
	if (before != NONE)
		chain_of(m, before, kind, leaf)->next = after;
	else
		*head_of(m, kind, target, leaf) = after;
}

/* Make an entry present in lanes in which it is absent; the caller sets its other masks. */
static void install(struct machine *m, int32_t slot, int index, lanes_t lanes, int32_t target, enum kind kind)
{
	struct page *page = &m->headers[slot];
	struct spte *entry = &m->sptes[slot][index];
	lanes_t large = large_lanes(m, slot, index);
	lanes_t holders = entry->present & (kind == BIG ? large : ~large) & ~entry->odd;

	if (!any(holders)) {
		entry->target[kind] = target;
		enter_list(m, slot, index, kind, target);
	} else if (entry->target[kind] != target) {
		FOR_EACH_LANE(lane, lanes)
			odd_set(m, spte_of(slot, index), lane, kind, target);
		entry->odd |= lanes;
	}
	entry->present |= lanes;
	if (is_leaf(page)) {
		lengthen(m, target, lanes);
		increment_words(&m->present_count[slot], lanes);
	} else if (kind == BIG) {
		entry->large |= lanes;
	}
	set_entry(page->occupied, index);
	if (!any(m->knobs.shadow & ~entry->present))
		set_entry(page->full, index);
}

/* Forget the targets of an entry, of a level-1 `leaf` page or not, in lanes in which all are of one kind. */
INLINE void forget_targets(struct machine *m, int32_t slot, int index, lanes_t lanes, enum kind kind, bool leaf)
{
	const struct spte *entry = &m->sptes[slot][index];
	lanes_t usual = lanes & ~entry->odd;

	FOR_EACH_LANE(lane, lanes & entry->odd) {
		int32_t target = odd_remove(m, spte_of(slot, index), lane, kind);

		if (leaf)
			shorten(m, target, bit(lane));
	}
	if (!any(usual))
		return;
	int32_t target = entry->target[kind];
	lanes_t same_kind = leaf ? entry->present : entry->present & (kind == BIG ? entry->large : ~entry->large);

	if (leaf)
		shorten(m, target, usual);
	if (!any(same_kind & ~entry->odd & ~usual))
		leave_list(m, slot, index, kind, target, leaf);
}

INLINE void clear_spte(struct spte *entry, lanes_t lanes)
{
	entry->present &= ~lanes;
	entry->writable &= ~lanes;
	entry->accessed &= ~lanes;
	entry->dirty &= ~lanes;
	entry->speculative &= ~lanes;
	entry->odd &= ~lanes;
}

/* Remove an entry, leaf or link, in lanes in which it is present (drop_spte, drop_parent_pte). */
static void drop(struct machine *m, int32_t slot, int index, lanes_t lanes)
{
	struct page *page = &m->headers[slot];
	struct spte *entry = &m->sptes[slot][index];
	bool leaf = is_leaf(page);
	lanes_t large = leaf ? NO_LANES : lanes & entry->large, small = lanes & ~large;

	if (leaf) {
		count_some(m, COUNTER_SPTES_ZAPPED, lanes);
		count(m, COUNTER_PREFETCH_UNUSED, lanes & entry->speculative);
		decrement_words(&m->present_count[slot], lanes);
	} else if (any(large)) {
		count_some(m, COUNTER_SPTES_ZAPPED, large);
		forget_targets(m, slot, index, large, BIG, false);
	}
	if (any(small))
		forget_targets(m, slot, index, small, SMALL, leaf);
	clear_spte(entry, lanes);
	clear_entry(page->full, index);
	if (!leaf)
		entry->below &= ~lanes;
	if (!any(entry->present))
		clear_entry(page->occupied, index);
}

/* Remove a leaf in lanes; whether it was present in any. */
INLINE bool drop_leaf(struct machine *m, int32_t slot, int index, lanes_t lanes)
{
	struct spte *entry = &m->sptes[slot][index];
	lanes_t present = entry->present & lanes;

	if (!any(present))
		return false;
	count(m, COUNTER_PREFETCH_UNUSED, present & entry->speculative);
	forget_targets(m, slot, index, present, SMALL, true);
	clear_spte(entry, present);
	if (!any(entry->present))
		clear_entry(m->headers[slot].occupied, index);
	return true;
}

/* Have what the leaves of a part of a page map brought near: they are the last to map it, more often than not. */
INLINE void fetch_targets(struct machine *m, int32_t slot, int part)
{
	for (uint64_t bits = m->headers[slot].occupied[part]; bits; bits &= bits - 1) {
		int32_t target = m->sptes[slot][part * 64 + __builtin_ctzll(bits)].target[SMALL];

		FETCH(m->lengths[target]);
		__builtin_prefetch(&m->frames[target]);
	}
}

/* Remove all leaves of a level-1 page in lanes, as `drop` does one after the other. */
static void drop_leaves(struct machine *m, int32_t slot, lanes_t lanes)
{
	struct page *page = &m->headers[slot];
	bool is_whole = same_lanes(lanes, page->shadowed);

	lanes &= ~equal_words(&m->present_count[slot], 0);
	if (!any(lanes))
		return;
	/* Of one lane it is known when the last entry was found. */
	int left = several(lanes) ? ENTRIES + 1 : m->present_count[slot][lowest(lanes)];

	count_words(m, COUNTER_SPTES_ZAPPED, &m->present_count[slot], lanes);
	clear_words(&m->present_count[slot], lanes);
	memset(page->full, 0, sizeof page->full);
	for (int part = 0; part < PARTS && left; part++) {
		if (is_whole)
			fetch_targets(m, slot, part);
		for (uint64_t bits = page->occupied[part]; bits && left; bits &= bits - 1)
			left -= drop_leaf(m, slot, part * 64 + __builtin_ctzll(bits), lanes);
	}
}

/* The lanes in which an entry is present, of one kind, and has this target. */
INLINE lanes_t lanes_to(struct machine *m, int32_t slot, int index, int32_t target, enum kind kind)
{
	const struct spte *entry = &m->sptes[slot][index];
	lanes_t large = large_lanes(m, slot, index);
	lanes_t lanes = entry->present & (kind == BIG ? large : ~large);
	lanes_t found = entry->target[kind] == target ? lanes & ~entry->odd : NO_LANES;

	FOR_EACH_LANE(lane, lanes & entry->odd)
		if (odd_get(m, spte_of(slot, index), lane) == target)
			found |= bit(lane);
	return found;
}

/* The slot that a link leads to in one lane. */
INLINE int32_t link_target(struct machine *m, int32_t slot, int index, int lane)
{
	const struct spte *entry = &m->sptes[slot][index];

	return has(entry->odd, lane) ? odd_get(m, spte_of(slot, index), lane) : entry->target[SMALL];
}

/* Drop every 4 KiB leaf that maps a frame (kvm_zap_all_rmap_sptes, what rmap_recycle does). */
static void drop_frame(struct machine *m, int64_t gfn, lanes_t lanes)
{
	int32_t spte = m->frames[gfn].first_spte;

	while (spte != NONE) {
		int32_t next = next_leaf(m, spte);
		const struct spte *entry = entry_of(m, spte);
		lanes_t mapped = entry->present & ~entry->odd & lanes;

		if (any(mapped))
			drop(m, slot_of(spte), place_of(spte), mapped);
		spte = next;
	}
	int32_t place = m->frames[gfn].first_odd;

	while (place != NONE) {
		struct odd odd = m->odds[place];

		place = odd.next;
		if (has(lanes, odd_lane(&odd)))
			drop(m, slot_of(odd_spte(&odd)), place_of(odd_spte(&odd)), bit(odd_lane(&odd)));
	}
}

/* Make a writable large leaf read-only, or drop it where the policy does so. */
static void protect_large(struct machine *m, int32_t spte, lanes_t had)
{
	entry_of(m, spte)->writable &= ~had;
	if (any(had & m->knobs.large_drop))
		drop(m, slot_of(spte), place_of(spte), had & m->knobs.large_drop);
}

/* What `write_protect` does with the odd entries that map a frame. */
static lanes_t write_protect_odd(struct machine *m, int64_t gfn, lanes_t lanes)
{
	lanes_t changed = NO_LANES;

	for (int32_t place = m->frames[gfn].first_odd; place != NONE; place = m->odds[place].next) {
		struct spte *entry = entry_of(m, odd_spte(&m->odds[place]));
		lanes_t had = entry->writable & lanes & bit(odd_lane(&m->odds[place]));

		entry->writable &= ~had;
		changed |= had;
	}
	int32_t place = region_of(m, gfn)->first_odd;

	while (place != NONE) {
		struct odd odd = m->odds[place];
		lanes_t had = entry_of(m, odd_spte(&odd))->writable & lanes & bit(odd_lane(&odd));

		place = odd.next;
		if (any(had))
			protect_large(m, odd_spte(&odd), had);
		changed |= had;
	}
	return changed;
}

/* Take write access from all leaves that map a frame; the lanes in which one had it (rmap_write_protect). */
static lanes_t write_protect(struct machine *m, int64_t gfn, lanes_t lanes)
{
	lanes_t changed = NO_LANES;

	for (int32_t spte = m->frames[gfn].first_spte; spte != NONE; spte = next_leaf(m, spte)) {
		struct spte *entry = entry_of(m, spte);
		lanes_t had = entry->writable & lanes & ~entry->odd;

		entry->writable &= ~had;
		changed |= had;
	}
	int32_t spte = region_of(m, gfn)->first_spte;

	while (spte != NONE) {
		int32_t next = chain_of(m, spte, BIG, false)->next;
		const struct spte *entry = entry_of(m, spte);
		lanes_t had = entry->writable & entry->large & lanes & ~entry->odd;

		if (any(had))
			protect_large(m, spte, had);
		changed |= had;
		spte = next;
	}
	return changed | write_protect_odd(m, gfn, lanes);
}
