/* The page fault path in lanes: build the shadow levels down to the leaf entry. */
#pragma once

#include "counting.h"
#include "descs.h"
#include "mechanism_hooks.h"
#include "memory.h"
#include "pages.h"
#include "paths.h"
#include "rmap.h"
#include "slots.h"
#include "sptes.h"
#include "state.h"
#include "sync.h"
#include "tree.h"

/* Zap every indirect shadow page of `gfn` in lanes (kvm_mmu_unprotect_page). */
static void unprotect(struct machine *m, int64_t gfn, lanes_t lanes)
{
	lanes_t had = NO_LANES;

	count(m, COUNTER_LOCK_ACQUISITIONS, lanes);
	walk_chain(m, gfn, lanes, 1);
	FOR_EACH_SLOT(m, slot, gfn) {
		lanes_t shadowed = is_direct(&m->headers[slot]) ? NO_LANES : m->headers[slot].shadowed & lanes;

		if (any(shadowed)) {
			had |= shadowed;
			count_some(m, COUNTER_RETRY_ZAPS, shadowed);
			zap(m, slot, shadowed);
		}
	}
	flush_remote(m, had);
}

/* Where some lanes stand on their way down. */
struct step {
	int32_t slot;
	lanes_t lanes;
};

/* Look up the page below an entry and link it, in lanes that have none or a wrong one. */
static void build_child(struct machine *m, int32_t slot, int index, lanes_t lanes, int32_t child)
{
	lanes_t stale = m->sptes[slot][index].present & lanes;

	if (any(stale)) {
		drop(m, slot, index, stale);
		flush_remote(m, stale);
	}
	link_page(m, slot, index, lanes, child);
}

/* The page of `gfn` below an entry, looked up and linked where it is not yet, and the lanes that share it. */
static struct step step_down(struct machine *m, int32_t slot, int index, lanes_t lanes, int64_t gfn, int32_t key)
{
	const struct spte *entry = &m->sptes[slot][index];
	lanes_t linked = entry->present & lanes & ~large_lanes(m, slot, index);

	if (same_lanes(linked, lanes) && !any(entry->odd & lanes) && m->headers[entry->target[SMALL]].gfn == gfn)
		return (struct step){entry->target[SMALL], lanes};
	lanes_t missing = lanes & ~linked;

	while (any(linked)) {
		int32_t child = link_target(m, slot, index, lowest(linked));
		lanes_t same = lanes_to(m, slot, index, child, SMALL) & linked;

		if (m->headers[child].gfn == gfn)
			return (struct step){child, same};
		missing |= same;
		linked &= ~same;
	}
	int32_t child = get_page(m, gfn, key, missing);

	if (key >> 4 > 1 && !is_direct(&m->headers[child]))
		sync_children(m, child, missing);
	build_child(m, slot, index, missing, child);
	return (struct step){child, missing};
}

/* The lanes in which the walk's page is mapped large (kvm_mmu_max_mapping_level, FNAME(is_self_change_mapping)). */
static lanes_t lanes_mapping_large(struct machine *m, lanes_t lanes)
{
	const struct walk *walk = &m->walk;

	if (walk->level == 1)
		return NO_LANES;
	int64_t same = ~span_mask(walk->level);

	if (walk->access & ACC_WRITE)
		for (int above = walk->level; above <= ROOT_LEVEL; above++)
			if ((walk->table[above] & same) == (walk->gfn & same))
				return NO_LANES;
	return lanes & m->knobs.host_large & ~region_of(m, walk->gfn)->shadowed;
}

/* Drop links to pages that were built for another access (validate_direct_spte). */
static void drop_other_access(struct machine *m, int32_t slot, int index, lanes_t lanes, int granted)
{
	lanes_t linked = m->sptes[slot][index].present & lanes & ~large_lanes(m, slot, index);

	while (any(linked)) {
		int32_t child = link_target(m, slot, index, lowest(linked));
		lanes_t same = lanes_to(m, slot, index, child, SMALL) & linked;

		linked &= ~same;
		if ((m->headers[child].key & ACC_ALL) != granted) {
			drop(m, slot, index, same);
			flush_remote(m, same);
		}
	}
}

/* One way down and what became of the lanes that took it. */
struct fetched {
	lanes_t lanes;
	lanes_t emulate;
	lanes_t spurious;
};

/* Build the shadow levels and the leaf for those lanes that share one way down (FNAME(fetch)). */
static struct fetched fetch(struct machine *m, struct vcpu *vcpu, uint64_t gva, lanes_t lanes, bool write)
{
	const struct walk walk = m->walk;
	struct step at = {vcpu->root, lanes};
	int level = ROOT_LEVEL, goal = 0, index;

	for (;; level--) {
		on_walk(m, at.slot, at.lanes);
		index = index_of(gva, level);
		if (level > walk.level) {
			int32_t key = key_of(level - 1, false, walk.table_access[level - 1]);

			at = step_down(m, at.slot, index, at.lanes, walk.table[level - 1], key);
			continue;
		}
		if (!goal) {
			lanes_t large = lanes_mapping_large(m, at.lanes);

			goal = has(large, lowest(at.lanes)) ? 2 : 1;
			at.lanes = goal == 2 ? large : at.lanes & ~large;
		}
		if (level == goal)
			break;
		drop_other_access(m, at.slot, index, at.lanes, walk.access);
		at = step_down(m, at.slot, index, at.lanes, walk.gfn & ~span_mask(level),
			       key_of(level - 1, true, walk.access));
	}
	int64_t base = walk.gfn & ~span_mask(level);
	struct installed leaf = set_spte(m, vcpu, at.slot, index, at.lanes, base, walk.access, write, false);
	lanes_t spurious = leaf.spurious & ~leaf.emulate;
	lanes_t filled = at.lanes & ~spurious & m->knobs.prefetch;

	if (any(filled) && level == 1)
		prefetch(m, vcpu, at.slot, index, filled);
	return (struct fetched){at.lanes, leaf.emulate, spurious};
}

/* What a fault leaves to be done. */
struct fault_result {
	lanes_t emulate; /* the instruction must be emulated */
	lanes_t retry;   /* the guest just has to try again */
};

/* The lanes that emulate a store to an upper-level table without building anything (page_fault_handle_page_track). */
static lanes_t take_shortcut(struct machine *m, const struct vcpu *vcpu, uint64_t gva, lanes_t lanes)
{
	lanes_t upper = tracked(m, m->walk.gfn) & lanes & m->knobs.shortcut;

	if (!any(upper))
		return NO_LANES;
	lanes_t emulate = present_lanes(m, vcpu, gva, upper);

	walk_shadow(m, vcpu, gva, emulate);
	count(m, TALLY_SHORTCUTS, emulate);
	return emulate;
}

/*
 * Serve an exit by a fault that the guest's own tables allow; `m->walk` holds their walk (FNAME(page_fault)).
 * `dead`: the store goes to a page that is no table any more, which only the oracle may know.
 */
static struct fault_result page_fault(struct machine *m, struct vcpu *vcpu, uint64_t gva, lanes_t lanes, bool write,
				      bool dead)
{
	count_some(m, TALLY_FAULTS, lanes);
	if (dead && write && any(lanes & m->knobs.oracle))
		unprotect(m, m->walk.gfn, lanes & m->knobs.oracle);
	lanes_t emulate = write ? take_shortcut(m, vcpu, gva, lanes) : NO_LANES;
	lanes_t rest = lanes & ~emulate, spurious = NO_LANES;

	if (any(rest)) {
		top_up(m, vcpu, rest);
		make_pages_available(m, rest);
	}
	lanes_t retry = rest & ~vcpu->valid;
	lanes_t built = rest & ~retry;

	for (rest = built; any(rest);) {
		struct fetched way = fetch(m, vcpu, gva, rest, write);

		rest &= ~way.lanes;
		emulate |= way.emulate;
		spurious |= way.spurious;
	}
	count(m, COUNTER_PF_EMULATE, emulate);
	count(m, COUNTER_PF_SPURIOUS, spurious);
	count(m, TALLY_OBSOLETE, retry);
	on_fault(m, vcpu, (retry | built) & ~emulate);
	return (struct fault_result){emulate, retry};
}
