/* Trapped stores in lanes: what KVM does to the shadows of a written guest table, once or for a whole rep store. */
#pragma once

#include "counting.h"
#include "descs.h"
#include "mechanism_hooks.h"
#include "memory.h"
#include "pages.h"
#include "rmap.h"
#include "slots.h"
#include "sptes.h"
#include "state.h"

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

/* Whether a class of instructions has a repeat prefix. */
INLINE bool is_rep(int instruction)
{
	return instruction == INSTRUCTION_REP_STOS || instruction == INSTRUCTION_REP_MOVS;
}

/* The lanes that have an indirect shadow page of a gfn. */
INLINE lanes_t shadowed_lanes(const struct machine *m, int64_t gfn)
{
	lanes_t lanes = NO_LANES;

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
	if (any(lanes & ~skipped))
		prefetch_gpte(m, vcpu, slot, index, lanes & ~skipped);
	if (gpte & PTE_PRESENT && gpte & PTE_ACCESSED)
		count(m, COUNTER_PREFETCH_SKIPPED, skipped);
}

/* What one trapped store is to the shadow pages of its gfn, and to mechanisms. */
struct written {
	int64_t gfn;
	int index;
	/* As KVM takes it: a 32-bit half of an entry is read again as a whole. */
	int offset;
	int width;
	uint64_t gpte; /* the stored entry, or 0 if the store was too narrow for one */
	/* As the guest stored it. */
	int stored_offset;
	int stored_width;
	bool by_guest; /* or INVLPG of Linux 3.0 writes what stands there */
};

/* The next iterations of a rep store, each as wide as the one before. */
struct iterations {
	int offset;
	int width;
	lanes_t shadowed; /* lanes that have a shadow page of its gfn */
	lanes_t upper;    /* … of a level above 1 */
	int unshadowed;   /* iterations before these, in a row, in which no lane had one */
};

/* Zap a written shadow page or update its entry; the lanes that must flush (mmu_pte_write_new_pte). */
static lanes_t write_page(struct machine *m, struct vcpu *vcpu, int32_t slot, const struct written *written,
			  lanes_t shadowed)
{
	lanes_t zapped = gives_up(m, slot, written, shadowed), rest = shadowed & ~zapped;

	if (any(zapped))
		zap(m, slot, zapped);
	lanes_t present = present_at(m, slot, written->index) & rest;

	if (any(present))
		drop(m, slot, written->index, present);
	if (written->gpte && any(rest)) {
		if (!is_leaf(&m->headers[slot]))
			count_some(m, COUNTER_MMU_PDE_ZAPPED, rest);
		else if (any(rest & m->knobs.update))
			update_spte(m, vcpu, slot, written->index, rest & m->knobs.update, written->gpte);
	}
	return zapped | present;
}

/* Describe a store; a 32-bit half of an entry is read again as a whole (mmu_pte_write_fetch_gpte). */
INLINE struct written written_by(const struct machine *m, int64_t gpa, int width, bool by_guest)
{
	bool half = width == 4;
	int64_t gfn = gpa >> 12;
	int offset = (int)(gpa & (half ? 4088 : 4095));

	return (struct written){
		.gfn = gfn,
		.index = offset >> 3,
		.offset = offset,
		.width = half ? 8 : width,
		.gpte = half || width == 8 ? read_entry(m, gfn, offset >> 3) : 0,
		.stored_offset = (int)(gpa & 4095),
		.stored_width = width,
		.by_guest = by_guest,
	};
}

/* Bring the shadows of a stored entry in line, or give them up (kvm_mmu_pte_write). */
static void pte_write(struct machine *m, struct vcpu *vcpu, int64_t gpa, int width, lanes_t lanes, bool live,
		      bool by_guest)
{
	lanes &= m->indirect;
	if (!any(lanes))
		return;
	top_up(m, vcpu, lanes & m->knobs.topup_in_write);
	make_pages_available(m, lanes & m->knobs.recycle_in_write);
	count_some(m, COUNTER_MMU_PTE_WRITE, lanes);
	if (!live)
		count_some(m, COUNTER_DEAD_TABLE_WRITES, lanes);
	struct written written = written_by(m, gpa, width, by_guest);

	if (by_guest)
		on_write(m, vcpu, &written, 1, lanes);
	lanes_t flush = NO_LANES;

	walk_chain(m, written.gfn, lanes, 1);
	FOR_EACH_SLOT(m, slot, written.gfn) {
		lanes_t shadowed = m->headers[slot].shadowed & lanes;

		if (any(shadowed) && !is_direct(&m->headers[slot]))
			flush |= write_page(m, vcpu, slot, &written, shadowed);
	}
	flush_remote(m, flush);
}

/* The lanes in which further iterations drop entries at the most: no mechanism looks at them one by one. */
static lanes_t plain_lanes(struct machine *m, const struct store *op, lanes_t lanes, int unshadowed)
{
	struct iterations next = {.offset = (int)(op->gpa & 4095), .width = op->width, .unshadowed = unshadowed};

	FOR_EACH_SLOT(m, slot, op->gpa >> 12) {
		if (is_direct(&m->headers[slot]))
			continue;
		next.shadowed |= m->headers[slot].shadowed;
		if (!is_leaf(&m->headers[slot]))
			next.upper |= m->headers[slot].shadowed;
	}
	if (op->value)
		lanes &= ~next.shadowed;
	return lanes & ~watches(m, &next, lanes);
}

/* Drop the entries of a gfn's shadow pages from `first` to `last`, in lanes. */
static void drop_range(struct machine *m, int64_t gfn, int first, int last, lanes_t lanes)
{
	uint64_t occupied[8] = {0};

	FOR_EACH_SLOT(m, slot, gfn)
		if (any(m->headers[slot].shadowed & lanes) && !is_direct(&m->headers[slot]))
			for (int part = 0; part < 8; part++)
				occupied[part] |= m->headers[slot].occupied[part];
	FOR_EACH_ENTRY(index, occupied) {
		lanes_t dropped = NO_LANES;

		if (index < first || index > last)
			continue;
		FOR_EACH_SLOT(m, slot, gfn) {
			lanes_t present = m->sptes[slot][index].present & lanes;

			if (any(present) && !is_direct(&m->headers[slot])) {
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
	struct written written = written_by(m, op->gpa + (int64_t)begin * op->width, op->width, true);

	count_amount(m, COUNTER_PAGE_WALKS, lanes, times);
	lanes &= m->indirect;
	count_amount(m, COUNTER_MMU_PTE_WRITE, lanes, times);
	if (!op->live)
		count_amount(m, COUNTER_DEAD_TABLE_WRITES, lanes, times);
	walk_chain(m, gfn, lanes, times);
	if (any(lanes))
		on_write(m, vcpu, &written, times, lanes);
	if (any(shadowed_lanes(m, gfn) & lanes))
		drop_range(m, gfn, (offset + begin * op->width) >> 3, (offset + end * op->width - 1) >> 3, lanes);
}

/* Emulate iterations of a rep store one by one, and at one go those that no mechanism looks at any more. */
static void iterate(struct machine *m, struct vcpu *vcpu, const struct store *op, int done, int operands, lanes_t lanes)
{
	int unshadowed = 0;

	for (int k = done; k < done + operands; k++) {
		if (k > done) {
			lanes_t plain = plain_lanes(m, op, lanes, unshadowed);

			if (any(plain))
				iterate_plain(m, vcpu, op, k, done + operands, plain);
			lanes &= ~plain;
		}
		if (!any(lanes))
			return;
		count_some(m, COUNTER_PAGE_WALKS, lanes);
		pte_write(m, vcpu, op->gpa + (int64_t)k * op->width, op->width, lanes, op->live, true);
		unshadowed = any(shadowed_lanes(m, op->gpa >> 12) & lanes) ? 0 : unshadowed + 1;
	}
}
