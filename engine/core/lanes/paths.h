/* The way that the CPU takes through the shadow pages of lanes to the entry of an address. */
#pragma once

#include "counting.h"
#include "mechanism_hooks.h"
#include "memory.h"
#include "rmap.h"
#include "state.h"

/* A leaf entry and the lanes that take the same way to it; slot is NONE where the lanes have none. */
struct leaf {
	int32_t slot;
	int index;
	lanes_t lanes;
};

/* Follow the links of the lowest lane to the leaf entry of `gva`. */
static struct leaf find_leaf(struct machine *m, const struct vcpu *vcpu, uint64_t gva, lanes_t lanes)
{
	lanes_t same = lanes & vcpu->valid;
	int32_t slot = vcpu->root;

	if (!same_lanes(same, lanes))
		return (struct leaf){NONE, 0, lanes & ~same};
	for (int level = ROOT_LEVEL;; level--) {
		int index = index_of(gva, level), first = lowest(same);
		const struct spte *entry = &m->sptes[slot][index];
		lanes_t present = entry->present & same;

		if (!has(present, first))
			return (struct leaf){NONE, 0, same & ~present};
		same = present;
		if (level == 1)
			return (struct leaf){slot, index, same};
		lanes_t large = entry->large & same;

		if (has(large, first))
			return (struct leaf){slot, index, large};
		same &= ~large;
		if (any(entry->odd & same)) {
			int32_t child = link_target(m, slot, index, first);

			same &= lanes_to(m, slot, index, child, SMALL);
			slot = child;
		} else {
			slot = entry->target[SMALL];
		}
	}
}

INLINE void use_any(struct spte *entry, lanes_t lanes, bool write)
{
	if (any(lanes & ~entry->accessed))
		entry->accessed |= lanes;
	if (write && any(lanes & ~entry->dirty))
		entry->dirty |= lanes;
}

/* Mark a 4 KiB leaf as the CPU does when the guest uses it. */
INLINE void use_leaf(struct machine *m, struct spte *entry, lanes_t lanes, bool write)
{
	lanes_t first = entry->speculative & lanes;

	use_any(entry, lanes, write);
	if (any(first)) {
		entry->speculative &= ~first;
		count_some(m, COUNTER_PREFETCH_USED, first);
	}
}

/* Mark a leaf of any size. */
INLINE void use(struct machine *m, int32_t slot, int index, lanes_t lanes, bool write)
{
	if (is_leaf(&m->headers[slot]))
		use_leaf(m, &m->sptes[slot][index], lanes, write);
	else
		use_any(&m->sptes[slot][index], lanes, write);
}

/* Let the guest use `gva` wherever an entry allows it; the lanes that fault. */
static lanes_t access_lanes(struct machine *m, const struct vcpu *vcpu, uint64_t gva, lanes_t lanes, bool write)
{
	lanes_t faults = NO_LANES;

	while (any(lanes)) {
		struct leaf leaf = find_leaf(m, vcpu, gva, lanes);

		lanes &= ~leaf.lanes;
		if (leaf.slot == NONE) {
			faults |= leaf.lanes;
			continue;
		}
		if (write) {
			lanes_t writable = m->sptes[leaf.slot][leaf.index].writable;

			faults |= leaf.lanes & ~writable;
			leaf.lanes &= writable;
		}
		use(m, leaf.slot, leaf.index, leaf.lanes, write);
	}
	return faults;
}

/* The lanes in which an entry translates `gva`, whatever access it grants. */
static lanes_t present_lanes(struct machine *m, const struct vcpu *vcpu, uint64_t gva, lanes_t lanes)
{
	lanes_t present = NO_LANES;

	while (any(lanes)) {
		struct leaf leaf = find_leaf(m, vcpu, gva, lanes);

		lanes &= ~leaf.lanes;
		if (leaf.slot != NONE)
			present |= leaf.lanes;
	}
	return present;
}

/* Walk one lane's way to `gva`; the lanes that take the same way to its end. */
static lanes_t walk_shadow_on_way(struct machine *m, const struct vcpu *vcpu, uint64_t gva, lanes_t lanes)
{
	int32_t slot = vcpu->root;

	for (int level = ROOT_LEVEL;; level--) {
		on_walk(m, slot, lanes);
		if (level == 1)
			return lanes;
		int index = index_of(gva, level);
		lanes_t linked = lanes & m->sptes[slot][index].present & ~large_lanes(m, slot, index);

		if (!has(linked, lowest(lanes)))
			return lanes & ~linked;
		int32_t child = link_target(m, slot, index, lowest(lanes));

		lanes = linked & lanes_to(m, slot, index, child, SMALL);
		slot = child;
	}
}

/* Tell mechanisms of a walk through the shadow pages that translate `gva` (walk_shadow_page_lockless_begin). */
static void walk_shadow(struct machine *m, const struct vcpu *vcpu, uint64_t gva, lanes_t lanes)
{
	lanes &= lanes_with_on_walk(m) & vcpu->valid;
	while (any(lanes))
		lanes &= ~walk_shadow_on_way(m, vcpu, gva, lanes);
}
