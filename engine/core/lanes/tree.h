/* Links between shadow pages in lanes: mark the way up from an out-of-sync leaf, find the leaves below a page. */
#pragma once

#include "rmap.h"
#include "state.h"

/* Note that out-of-sync leaves may lie below a link; the lanes in which that is news. */
INLINE lanes_t mark_link(struct machine *m, int32_t slot, int index, lanes_t lanes)
{
	struct spte *entry = &m->sptes[slot][index];
	lanes_t news = lanes & ~entry->below;

	if (any(news)) {
		entry->below |= news;
		m->headers[slot].below_any |= news;
		set_entry(m->headers[slot].below, index);
	}
	return news;
}

/*
 * Note in every page above that a leaf is out of sync (kvm_mmu_mark_parents_unsync). A parent is one level up, so that
 * this calls itself three times at the most.
 */
static void mark_parents(struct machine *m, int32_t slot, lanes_t lanes)
{
	for (int32_t spte = m->headers[slot].first_parent; spte != NONE; spte = next_parent(m, spte)) {
		lanes_t linked = lanes_to(m, slot_of(spte), place_of(spte), slot, SMALL) & lanes;
		lanes_t news = mark_link(m, slot_of(spte), place_of(spte), linked);

		if (any(news))
			mark_parents(m, slot_of(spte), news);
	}
	for (int32_t place = m->headers[slot].first_odd; place != NONE; place = m->odds[place].next) {
		int32_t spte = odd_spte(&m->odds[place]);
		lanes_t linked = lanes & bit(odd_lane(&m->odds[place]));
		lanes_t news = mark_link(m, slot_of(spte), place_of(spte), linked);

		if (any(news))
			mark_parents(m, slot_of(spte), news);
	}
}

/* Link a page below an entry that is absent in these lanes (link_shadow_page). */
static void link_page(struct machine *m, int32_t slot, int index, lanes_t lanes, int32_t child)
{
	const struct page *page = &m->headers[child];
	lanes_t stale = lanes & (is_leaf(page) ? page->unsync : page->below_any);

	install(m, slot, index, lanes, child, SMALL);
	lanes_t news = mark_link(m, slot, index, stale);

	if (any(news))
		mark_parents(m, slot, news);
}

/* Append to the work list. Each list on it names a slot once, and two lists at the most are open at any time. */
INLINE void add_work(struct machine *m, int32_t slot, lanes_t lanes)
{
	m->work[m->work_used++] = (struct item){slot, lanes};
}
_Static_assert(WORK_ITEMS > 2 * SLOTS, "two lists of all slots fit on the work list");

/* Put an out-of-sync leaf on the work list, or an upper page on the stack; the depth of the stack. */
INLINE int found_below(struct machine *m, int32_t child, lanes_t lanes, int depth)
{
	struct page *page = &m->headers[child];

	if (!is_leaf(page)) {
		m->climb[depth] = (struct item){child, lanes};
		return depth + 1;
	}
	lanes_t unsync = page->unsync & lanes;

	if (!any(unsync))
		return depth;
	if (page->stamp >> PLACE_BITS == m->stamp) {
		m->work[page->stamp & (WORK_ITEMS - 1)].lanes |= unsync;
	} else {
		page->stamp = m->stamp << PLACE_BITS | m->work_used;
		add_work(m, child, unsync);
	}
	return depth;
}

/* Look below all links of one page that may lead to out-of-sync leaves. */
static int collect_links(struct machine *m, int32_t slot, lanes_t wanted, int depth, bool forget)
{
	struct page *page = &m->headers[slot];

	FOR_EACH_ENTRY(index, page->below) {
		struct spte *entry = &m->sptes[slot][index];
		lanes_t below = entry->below & wanted;

		if (any(below & ~entry->odd))
			depth = found_below(m, entry->target[SMALL], below & ~entry->odd, depth);
		FOR_EACH_LANE(lane, below & entry->odd)
			depth = found_below(m, odd_get(m, spte_of(slot, index), lane), bit(lane), depth);
		if (!forget)
			continue;
		entry->below &= ~below;
		if (!any(entry->below))
			clear_entry(page->below, index);
	}
	if (forget)
		page->below_any &= ~wanted;
	return depth;
}

/*
 * Append the out-of-sync leaves below an upper page to the work list; where they begin (mmu_unsync_walk).
 *
 * With `forget` the marks on the way are cleared, because the caller brings all of these leaves back in sync. The stack
 * holds links of a level-4 and of a level-3 page at the most, each with one target a lane.
 */
static int32_t collect_unsync(struct machine *m, int32_t slot, lanes_t lanes, bool forget)
{
	int32_t begin = m->work_used;

	m->stamp++;
	int depth = found_below(m, slot, lanes, 0);

	while (depth) {
		struct item item = m->climb[--depth];
		lanes_t wanted = item.lanes & m->headers[item.slot].below_any;

		if (any(wanted))
			depth = collect_links(m, item.slot, wanted, depth, forget);
	}
	return begin;
}
_Static_assert(WORK_ITEMS > 2 * ENTRIES * LANES, "all links of two pages fit on the stack");
