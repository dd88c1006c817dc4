/* Trapped stores in lanes: what KVM does to the shadows of a written guest table, once or for a whole rep store. */
#pragma once

#include "counting.h"
#include "descs.h"
#include "detectors/flooding.h"
#include "detectors/misaligned.h"
#include "memory.h"
#include "pages.h"
#include "rmap.h"
#include "slots.h"
#include "sptes.h"
#include "state.h"

/* Stores to one gfn after which the 2011 detector, if nothing else happens, counts each further one. */
enum { SETTLED = 3 };

/* A guest store: `count` operands of `width` bytes from `gpa` on, each leaving `value` in its entry. */
struct store {
	uint64_t gva;
	int64_t gpa;
	uint64_t value;
	int width;
	int count;
	int instruction;
	bool live;
};

/* The lanes that have an indirect shadow page of a gfn. */
INLINE lanes_t shadowed_lanes(const struct machine *m, int64_t gfn)
{
	lanes_t lanes = 0;

	FOR_EACH_SLOT(m, slot, gfn)
		if (!is_direct(&m->headers[slot]))
			lanes |= m->headers[slot].shadowed;
	return lanes;
}

/* Install the written spte anew, unless the policy checks the pte_list_desc cache and it is empty (update_pte). */
static void update_spte(struct machine *m, struct vcpu *vcpu, int32_t slot, int index, lanes_t lanes, uint64_t gpte)
{
	lanes_t skipped = without_desc(vcpu, lanes & m->knobs.topup_in_write);

	count(m, COUNTER_MMU_PTE_UPDATED, lanes);
	if (lanes & ~skipped)
		prefetch_gpte(m, vcpu, slot, index, lanes & ~skipped);
	if (gpte & G_PRESENT && gpte & G_ACCESSED)
		count(m, COUNTER_PREFETCH_SKIPPED, skipped);
}

/* What one trapped store is to the shadow pages of its gfn. */
struct written {
	int index;
	uint64_t gpte; /* the stored entry, or 0 if the store was too narrow for one */
	lanes_t misaligned;
	lanes_t repeats; /* the 2011 detector floods */
	bool by_guest;
};

/* Zap a written shadow page for its size, its place or because it floods; these lanes. */
static lanes_t zap_written(struct machine *m, int32_t slot, const struct written *written, lanes_t shadowed)
{
	lanes_t bad = shadowed & written->misaligned, flooded = 0;

	if (bad) {
		count_some(m, COUNTER_MISALIGNED_ZAPS, bad);
		count_some(m, COUNTER_MMU_FLOODED, bad);
		zap(m, slot, bad);
	}
	lanes_t rest = shadowed & ~bad;

	if (!written->by_guest || !rest)
		return bad;
	flooded = rest & written->repeats & ~m->knobs.oracle;
	if (is_leaf(&m->headers[slot]))
		flooded &= m->knobs.level1;
	flooded |= flooding_lanes(m, slot, written->index, rest);
	if (flooded) {
		count_some(m, COUNTER_FLOOD_ZAPS, flooded);
		count_some(m, COUNTER_MMU_FLOODED, flooded);
		zap(m, slot, flooded);
	}
	return bad | flooded;
}

/* Zap a written shadow page or update its entry; the lanes that must flush (mmu_pte_write_new_pte). */
static lanes_t write_page(struct machine *m, struct vcpu *vcpu, int32_t slot, const struct written *written,
			  lanes_t shadowed)
{
	lanes_t zapped = zap_written(m, slot, written, shadowed), rest = shadowed & ~zapped;
	lanes_t present = present_at(m, slot, written->index) & rest;

	if (present)
		drop(m, slot, written->index, present);
	if (written->gpte && rest) {
		if (!is_leaf(&m->headers[slot]))
			count_some(m, COUNTER_MMU_PDE_ZAPPED, rest);
		else if (rest & m->knobs.update)
			update_spte(m, vcpu, slot, written->index, rest & m->knobs.update, written->gpte);
	}
	return zapped | present;
}

/* Bring the shadows of a stored entry in line, or give them up (kvm_mmu_pte_write). */
static void pte_write(struct machine *m, struct vcpu *vcpu, int64_t gpa, int width, lanes_t lanes, bool live,
		      bool by_guest)
{
	lanes &= m->indirect;
	if (!lanes)
		return;
	top_up(m, vcpu, lanes & m->knobs.topup_in_write);
	make_pages_available(m, lanes & m->knobs.recycle_in_write);
	count_some(m, COUNTER_MMU_PTE_WRITE, lanes);
	if (!live)
		count_some(m, COUNTER_DEAD_TABLE_WRITES, lanes);
	/* A 32-bit half of an entry is read again as a whole (mmu_pte_write_fetch_gpte). */
	if (width == 4) {
		gpa &= ~(int64_t)7;
		width = 8;
	}
	int64_t gfn = gpa >> 12;
	int offset = (int)(gpa & 4095);
	struct written written = {
		.index = offset >> 3,
		.gpte = width == 8 ? read_entry(m, gfn, offset >> 3) : 0,
		.repeats = by_guest ? repeating_lanes(m, vcpu, gfn, lanes, 1) : 0,
		.misaligned = misaligned_lanes(m, offset, width),
		.by_guest = by_guest,
	};
	lanes_t flush = 0;

	walk_chain(m, gfn, lanes, 1);
	FOR_EACH_SLOT(m, slot, gfn) {
		lanes_t shadowed = m->headers[slot].shadowed & lanes;

		if (shadowed && !is_direct(&m->headers[slot]))
			flush |= write_page(m, vcpu, slot, &written, shadowed);
	}
	flush_remote(m, flush);
}

/* The lanes in which further iterations drop entries at the most: nothing is counted towards a zap. */
static lanes_t plain_lanes(const struct machine *m, const struct store *op, lanes_t lanes, bool settled)
{
	lanes_t shadowed = 0, upper = 0;
	int offset = (int)(op->gpa & 4095);

	FOR_EACH_SLOT(m, slot, op->gpa >> 12) {
		if (is_direct(&m->headers[slot]))
			continue;
		shadowed |= m->headers[slot].shadowed;
		if (!is_leaf(&m->headers[slot]))
			upper |= m->headers[slot].shadowed;
	}
	lanes_t watched = m->knobs.flood_on & ~m->knobs.oracle & (upper | m->knobs.level1);

	watched |= misaligned_lanes(m, offset, op->width) | misaligned_lanes(m, offset + 1, op->width);
	lanes_t plain = lanes & ~(shadowed & watched);

	if (op->value)
		plain &= ~shadowed;
	if (!settled)
		plain &= ~m->knobs.scope_vcpu;
	return plain & ~(m->knobs.scope_vcpu & shadowed);
}

/* Drop the entries of a gfn's shadow pages from `first` to `last`, in lanes. */
static void drop_range(struct machine *m, int64_t gfn, int first, int last, lanes_t lanes)
{
	uint64_t occupied[8] = {0};

	FOR_EACH_SLOT(m, slot, gfn)
		if (m->headers[slot].shadowed & lanes && !is_direct(&m->headers[slot]))
			for (int part = 0; part < 8; part++)
				occupied[part] |= m->headers[slot].occupied[part];
	FOR_EACH_ENTRY(index, occupied) {
		lanes_t dropped = 0;

		if (index < first || index > last)
			continue;
		FOR_EACH_SLOT(m, slot, gfn) {
			lanes_t present = m->sptes[slot][index].present & lanes;

			if (present && !is_direct(&m->headers[slot])) {
				drop(m, slot, index, present);
				dropped |= present;
			}
		}
		flush_remote(m, dropped);
	}
}

/* Carry out iterations `begin` to `end` of a rep store that may only drop entries. */
static void iterate_plain(struct machine *m, struct vcpu *vcpu, const struct store *op, int begin, int end,
			  lanes_t lanes)
{
	int64_t gfn = op->gpa >> 12;
	int times = end - begin, offset = (int)(op->gpa & 4095);

	count_amount(m, COUNTER_PAGE_WALKS, lanes, times);
	lanes &= m->indirect;
	count_amount(m, COUNTER_MMU_PTE_WRITE, lanes, times);
	if (!op->live)
		count_amount(m, COUNTER_DEAD_TABLE_WRITES, lanes, times);
	walk_chain(m, gfn, lanes, times);
	repeating_lanes(m, vcpu, gfn, lanes, times);
	if (shadowed_lanes(m, gfn) & lanes)
		drop_range(m, gfn, (offset + begin * op->width) >> 3, (offset + end * op->width - 1) >> 3, lanes);
}

/* Emulate iterations of a rep store one by one, and at one go those that no detector looks at any more. */
static void iterate(struct machine *m, struct vcpu *vcpu, const struct store *op, int done, int operands, lanes_t lanes)
{
	int settled = 0;

	for (int k = done; k < done + operands; k++) {
		if (k > done) {
			lanes_t plain = plain_lanes(m, op, lanes, settled > SETTLED);

			if (plain)
				iterate_plain(m, vcpu, op, k, done + operands, plain);
			lanes &= ~plain;
		}
		if (!lanes)
			return;
		count_some(m, COUNTER_PAGE_WALKS, lanes);
		pte_write(m, vcpu, op->gpa + (int64_t)k * op->width, op->width, lanes, op->live, true);
		bool counted = shadowed_lanes(m, op->gpa >> 12) & lanes & m->knobs.scope_vcpu;

		settled = counted ? 0 : settled + 1;
	}
}
