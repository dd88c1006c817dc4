/* Look-ups and synchronisation in lanes: get_page, unsync, sync, and the write access that both decide on. */
#pragma once

#include "mechanism_hooks.h"
#include "memory.h"
#include "pages.h"
#include "rmap.h"
#include "slots.h"
#include "state.h"
#include "tree.h"

/* The lanes in which a gfn is shadowed as an upper-level table: it never becomes writable there (page_track). */
INLINE lanes_t tracked(const struct machine *m, int64_t gfn)
{
	lanes_t lanes = NO_LANES;

	FOR_EACH_SLOT(m, slot, gfn)
		if (!is_leaf(&m->headers[slot]) && !is_direct(&m->headers[slot]))
			lanes |= m->headers[slot].shadowed;
	return lanes;
}

/* Let a leaf page go out of sync by a fault of a vCPU (kvm_unsync_page). */
INLINE void unsync_page(struct machine *m, struct vcpu *vcpu, int32_t slot, lanes_t lanes)
{
	m->headers[slot].unsync |= lanes;
	count_some(m, COUNTER_UNSYNC_EVENTS, lanes);
	mark_parents(m, slot, lanes);
	on_unsync(m, vcpu, slot, lanes);
}

/*
 * The lanes in which a spte of `gfn` may be writable (mmu_try_to_unsync_pages). Its pages go out of sync there by the
 * fault of a vCPU; without one none may.
 */
static lanes_t may_write(struct machine *m, struct vcpu *vcpu, int64_t gfn, lanes_t lanes, bool speculative)
{
	walk_chain(m, gfn, lanes, 1);
	if (m->frames[gfn].first_slot == NONE)
		return lanes;
	lanes_t allowed = lanes & ~tracked(m, gfn);

	FOR_EACH_SLOT(m, slot, gfn) {
		const struct page *page = &m->headers[slot];
		lanes_t shadowed = page->shadowed & allowed;

		if (!any(shadowed) || is_direct(page))
			continue;
		if (!vcpu) {
			allowed &= ~shadowed;
			continue;
		}
		lanes_t synced = shadowed & ~page->unsync;
		lanes_t going = any(synced) ? may_unsync(m, slot, speculative, synced) : NO_LANES;

		allowed &= ~(synced & ~going);
		if (any(going))
			unsync_page(m, vcpu, slot, going);
	}
	return allowed;
}

/* The lanes of a mask in which a leaf entry maps another frame than `gfn`. */
INLINE lanes_t lanes_elsewhere(struct machine *m, int32_t slot, int index, lanes_t lanes, int64_t gfn)
{
	const struct spte *entry = &m->sptes[slot][index];
	lanes_t elsewhere = entry->target[SMALL] != gfn ? lanes & ~entry->odd : NO_LANES;

	FOR_EACH_LANE(lane, lanes & entry->odd)
		if (odd_get(m, spte_of(slot, index), lane) != gfn)
			elsewhere |= bit(lane);
	return elsewhere;
}

/* Bring one entry in line in lanes in which it is present; the lanes that must flush. */
static lanes_t sync_entry(struct machine *m, int32_t slot, int index, lanes_t lanes, uint64_t gpte)
{
	struct spte *entry = &m->sptes[slot][index];
	int access = m->headers[slot].key & ACC_ALL & access_of(gpte);
	int64_t gfn = gfn_of(gpte);
	bool maps = gpte & PTE_PRESENT && gpte & PTE_ACCESSED && gfn < m->pages;
	lanes_t gone = maps ? lanes_elsewhere(m, slot, index, lanes, gfn) : lanes;

	if (any(gone))
		drop(m, slot, index, gone);
	lanes &= ~gone;
	if (!any(lanes))
		return gone;
	lanes_t had = entry->writable & lanes, writable = NO_LANES;

	if (access & ACC_WRITE && gpte & PTE_DIRTY) {
		writable = had;
		if (any(lanes & ~had))
			writable |= may_write(m, NULL, gfn, lanes & ~had, true);
	}
	lanes_t dirty = writable & ~had;
	lanes_t flush = (entry->accessed & lanes) | (had & ~writable) | (entry->dirty & lanes & ~dirty);

	entry->writable = (entry->writable & ~lanes) | writable;
	entry->dirty = (entry->dirty & ~lanes) | dirty;
	entry->accessed &= ~lanes;
	return gone | flush;
}

/* Bring the present entries of a leaf page in line with the guest's; the lanes that must flush (FNAME(sync_page)). */
static lanes_t sync_sptes(struct machine *m, int32_t slot, lanes_t lanes)
{
	const struct page *page = &m->headers[slot];
	lanes_t flush = NO_LANES;

	count_words(m, COUNTER_SYNC_SPTES, &m->present_count[slot], lanes);
	FOR_EACH_ENTRY(index, page->occupied) {
		lanes_t present = m->sptes[slot][index].present & lanes;

		if (any(present))
			flush |= sync_entry(m, slot, index, present, read_entry(m, page->gfn, index));
	}
	return flush;
}

/* Zap a page that synchronisation left without any entry, where the policy does so; these lanes. */
static lanes_t zap_empty(struct machine *m, int32_t slot, lanes_t lanes)
{
	lanes_t empty = lanes & m->knobs.sync_zaps_empty;

	if (any(empty))
		empty &= equal_words(&m->present_count[slot], 0);
	if (any(empty))
		zap(m, slot, empty);
	return empty;
}

/* Write-protect the leaves on the work list from `begin` on, bring them in line, and take them off (mmu_sync_children). */
static void sync_listed(struct machine *m, int32_t begin)
{
	lanes_t protected = NO_LANES, flush = NO_LANES;
	int32_t end = m->work_used;

	for (int32_t item = begin; item < end; item++)
		protected |= write_protect(m, m->headers[m->work[item].slot].gfn, m->work[item].lanes);
	flush_remote(m, protected);
	for (int32_t item = begin; item < end; item++) {
		int32_t slot = m->work[item].slot;
		lanes_t lanes = m->work[item].lanes;

		m->headers[slot].unsync &= ~lanes;
		count_some(m, COUNTER_SYNC_EVENTS, lanes);
		on_sync(m, slot, lanes);
		flush |= sync_sptes(m, slot, lanes);
		flush |= zap_empty(m, slot, lanes);
	}
	flush_remote(m, flush);
	m->work_used = begin;
}

/* Synchronise every out-of-sync leaf below an upper page; the lanes in which there was one. */
static lanes_t sync_children(struct machine *m, int32_t slot, lanes_t lanes)
{
	int32_t begin = collect_unsync(m, slot, lanes, true);
	lanes_t stale = NO_LANES;

	for (int32_t item = begin; item < m->work_used; item++)
		stale |= m->work[item].lanes;
	if (any(stale))
		sync_listed(m, begin);
	return stale;
}

static void zap_unsync_siblings(struct machine *m, int64_t gfn, lanes_t lanes)
{
	lanes_t stale = NO_LANES;

	FOR_EACH_SLOT(m, slot, gfn) {
		lanes_t unsync = m->headers[slot].unsync & lanes;

		if (any(unsync)) {
			zap(m, slot, unsync);
			stale |= unsync;
		}
	}
	flush_remote(m, stale);
}

static void sync_siblings(struct machine *m, int64_t gfn, lanes_t lanes)
{
	int32_t begin = m->work_used;

	FOR_EACH_SLOT(m, slot, gfn) {
		lanes_t unsync = m->headers[slot].unsync & lanes;

		if (any(unsync))
			add_work(m, slot, unsync);
	}
	sync_listed(m, begin);
}

/* The slot of (gfn, role), its shadow page made in lanes that have none (kvm_mmu_get_shadow_page). */
static int32_t get_page(struct machine *m, int64_t gfn, int32_t key, lanes_t lanes)
{
	bool upper = key >> 4 > 1;

	walk_chain(m, gfn, lanes, 1);
	if (upper && m->frames[gfn].first_slot != NONE)
		zap_unsync_siblings(m, gfn, lanes & m->knobs.create_zaps_unsync);
	int32_t slot = find_slot(m, gfn, key);
	lanes_t stale = slot == NONE ? NO_LANES : m->headers[slot].unsync & lanes;

	if (any(stale)) {
		count_some(m, COUNTER_SYNC_TRANSIENT, stale);
		flush_remote(m, sync_sptes(m, slot, stale));
		zap_empty(m, slot, stale);
	}
	slot = make_slot(m, gfn, key);
	on_lookup(m, slot, lanes);
	lanes_t new = lanes & ~m->headers[slot].shadowed;

	if (any(new)) {
		create(m, slot, new);
		if (upper && !is_direct(&m->headers[slot]))
			sync_siblings(m, gfn, new & ~m->knobs.create_zaps_unsync);
	}
	return slot;
}
