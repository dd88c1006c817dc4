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

	if (UNLIKELY(longer)) {
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
	lanes_t flush = 0, writable = 0, old = entry->present & lanes;

	if (old) {
		lanes_t other = old & ~lanes_to(m, slot, index, (int32_t)gfn, kind);

		if (other) {
			drop(m, slot, index, other);
			flush = other;
			old &= ~other;
		}
	}
	lanes_t had = entry->writable & old;

	if (granted & ACC_WRITE) {
		writable = had;
		if (lanes & ~had)
			writable |= may_write(m, vcpu, gfn, lanes & ~had, speculative);
	}
	lanes_t dirty = writable & ~had, new = lanes & ~old, was_dirty = entry->dirty & old;
	lanes_t same = old & entry->accessed & ~(had ^ writable) & ~(was_dirty ^ dirty);
	lanes_t changed = old & ~same, keep = ~(new | changed);

	if (new) {
		if (leaf)
			take_desc(m, vcpu, gfn, new);
		count_some(m, speculative ? COUNTER_SPTES_PREFETCHED : COUNTER_SPTES_INSTALLED, new);
		install(m, slot, index, new, (int32_t)gfn, kind);
	}
	if (changed) {
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
	if (new && leaf)
		recycle_rmap(m, gfn, new);
	flush_remote(m, flush);
	return (struct installed){
		.emulate = granted & ACC_WRITE && write ? lanes & ~writable : 0,
		.spurious = same,
	};
}

/* Install the spte of a guest entry speculatively; false if the entry is absent or was not accessed. */
static bool prefetch_gpte(struct machine *m, struct vcpu *vcpu, int32_t slot, int index, lanes_t lanes)
{
	const struct page *page = &m->headers[slot];
	uint64_t gpte = read_entry(m, page->gfn, index);
	int64_t gfn = gfn_of(gpte);

	if (!(gpte & G_PRESENT) || !(gpte & G_ACCESSED) || gfn >= m->pages)
		return false;
	int granted = page->key & ACC_ALL & access_of(gpte);

	if (!(gpte & G_DIRTY))
		granted &= ~ACC_WRITE;
	set_spte(m, vcpu, slot, index, lanes, gfn, granted, false, true);
	return true;
}

/* Fill the aligned group of entries around a fault (FNAME(pte_prefetch), __direct_pte_prefetch). */
static void prefetch(struct machine *m, struct vcpu *vcpu, int32_t slot, int index, lanes_t lanes)
{
	const struct page *page = &m->headers[slot];
	int first = index & ~(PREFETCH_SPTES - 1);

	for (int other = first; lanes && other < first + PREFETCH_SPTES; other++) {
		/* The bitmap spares a look at entries that are absent in all lanes. */
		bool occupied = page->occupied[other >> 6] >> (other & 63) & 1;
		lanes_t absent = occupied ? lanes & ~m->sptes[slot][other].present : lanes;

		if (other == index || !absent)
			continue;
		if (!is_direct(page)) {
			if (!prefetch_gpte(m, vcpu, slot, other, absent))
				lanes &= ~(absent & m->knobs.prefetch_stops);
			continue;
		}
		if (page->gfn + other >= m->pages)
			return;
		set_spte(m, vcpu, slot, other, absent, page->gfn + other, page->key & ACC_ALL, false, true);
	}
}
