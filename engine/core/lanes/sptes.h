/* Leaf entries in lanes: install one, as a fault needs it or speculatively, and those around it. */
#pragma once

#include "counting.h"
#include "descs.h"
#include "mechanism_hooks.h"
#include "memory.h"
#include "pages.h"
#include "paths.h"
#include "rmap.h"
#include "state.h"
#include "sync.h"

enum {
	PREFETCH_SPTES = 8,            /* PTE_PREFETCH_NUM */
	RMAP_RECYCLE_THRESHOLD = 1000, /* of the same name */
};

/* What became of the lanes in which a leaf was to be installed. */
struct installed {
	lanes_t emulate;  /* the store must be emulated */
	lanes_t spurious; /* the entry was there already, just so */
};

/* Drop all that maps a frame where too much does (rmap_recycle). */
INLINE void recycle_rmap(struct machine *m, int64_t gfn, lanes_t lanes)
{
	lanes_t longer = lanes_longer(m, gfn, RMAP_RECYCLE_THRESHOLD, lanes);

	if (UNLIKELY(any(longer))) {
		drop_frame(m, gfn, longer);
		flush_remote(m, longer);
	}
}

/* Install a leaf, writable where no shadow page forbids it (mmu_set_spte, make_spte). */
static struct installed set_spte(struct machine *m, struct vcpu *vcpu, int32_t slot, int index, lanes_t lanes,
				 int64_t gfn, int granted, bool write, bool speculative)
{
	struct spte *entry = &m->sptes[slot][index];
	bool leaf = is_leaf(&m->headers[slot]);
	enum kind kind = leaf ? SMALL : BIG;
	lanes_t flush = NO_LANES, writable = NO_LANES, old = entry->present & lanes;

	if (any(old)) {
		lanes_t other = old & ~lanes_to(m, slot, index, (int32_t)gfn, kind);

		if (any(other)) {
			drop(m, slot, index, other);
			flush = other;
			old &= ~other;
		}
	}
	lanes_t had = entry->writable & old;

	if (granted & ACC_WRITE) {
		writable = had;
		if (any(lanes & ~had))
			writable |= may_write(m, vcpu, gfn, lanes & ~had, speculative);
	}
	lanes_t dirty = writable & ~had, new = lanes & ~old, was_dirty = entry->dirty & old;
	lanes_t same = old & entry->accessed & ~(had ^ writable) & ~(was_dirty ^ dirty);
	lanes_t changed = old & ~same, keep = ~(new | changed);

	if (any(new)) {
		if (leaf)
			take_desc(m, vcpu, gfn, new);
		count_some(m, speculative ? COUNTER_SPTES_PREFETCHED : COUNTER_SPTES_INSTALLED, new);
		install(m, slot, index, new, (int32_t)gfn, kind);
	}
	if (any(changed)) {
		count(m, COUNTER_WRITE_UPGRADES, changed & writable & ~had);
		flush |= changed & was_dirty & ~dirty;
	}
	entry->writable = (entry->writable & keep) | (writable & ~keep);
	entry->dirty = (entry->dirty & keep) | (dirty & ~keep);
	if (speculative) {
		entry->speculative |= new;
		on_prefetch(m, vcpu, spte_of(slot, index), gfn, lanes);
	} else {
		use(m, slot, index, new | changed, false);
	}
	if (any(new) && leaf)
		recycle_rmap(m, gfn, new);
	flush_remote(m, flush);
	return (struct installed){
		.emulate = granted & ACC_WRITE && write ? lanes & ~writable : NO_LANES,
		.spurious = same,
	};
}

/* Install the spte of a guest entry speculatively; false if the entry is absent or was not accessed. */
static bool prefetch_entry(struct machine *m, struct vcpu *vcpu, int32_t slot, int index, lanes_t lanes, uint64_t gpte)
{
	int64_t gfn = gfn_of(gpte);

	if (!(gpte & PTE_PRESENT) || !(gpte & PTE_ACCESSED) || gfn >= m->pages)
		return false;
	int granted = m->headers[slot].key & ACC_ALL & access_of(gpte);

	if (!(gpte & PTE_DIRTY))
		granted &= ~ACC_WRITE;
	set_spte(m, vcpu, slot, index, lanes, gfn, granted, false, true);
	return true;
}

/* The same, of the guest entry that a spte shadows (FNAME(prefetch_gpte)). */
INLINE bool prefetch_gpte(struct machine *m, struct vcpu *vcpu, int32_t slot, int index, lanes_t lanes)
{
	return prefetch_entry(m, vcpu, slot, index, lanes, read_entry(m, m->headers[slot].gfn, index));
}

/* Which of the aligned group of entries from `first` on are absent in any lane: a bit each. */
INLINE unsigned not_full(const struct page *page, int first)
{
	return ~(unsigned)(page->full[first >> 6] >> (first & 63)) & ((1 << PREFETCH_SPTES) - 1);
}

/* Fill the group of a page that shadows no table (__direct_pte_prefetch). */
static void prefetch_direct(struct machine *m, struct vcpu *vcpu, int32_t slot, int index, lanes_t lanes)
{
	const struct page *page = &m->headers[slot];
	int first = index & ~(PREFETCH_SPTES - 1);

	for (unsigned rest = not_full(page, first); rest; rest &= rest - 1) {
		int other = first + __builtin_ctz(rest);
		lanes_t absent = lanes & ~present_at(m, slot, other);

		if (page->gfn + other >= m->pages)
			return;
		if (other != index && any(absent))
			set_spte(m, vcpu, slot, other, absent, page->gfn + other, page->key & ACC_ALL, false, true);
	}
}

/* Fill the aligned group of entries around a fault (FNAME(pte_prefetch)). */
static void prefetch(struct machine *m, struct vcpu *vcpu, int32_t slot, int index, lanes_t lanes)
{
	const struct page *page = &m->headers[slot];
	int first = index & ~(PREFETCH_SPTES - 1);

	if (is_direct(page)) {
		prefetch_direct(m, vcpu, slot, index, lanes);
		return;
	}
	for (unsigned rest = not_full(page, first); rest && any(lanes); rest &= rest - 1) {
		int other = first + __builtin_ctz(rest);
		lanes_t absent = lanes & ~present_at(m, slot, other);

		if (other != index && any(absent) && !prefetch_gpte(m, vcpu, slot, other, absent))
			lanes &= ~(absent & m->knobs.prefetch_stops);
	}
}
