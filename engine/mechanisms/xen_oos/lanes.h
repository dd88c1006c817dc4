/* Xen's rules for out-of-sync pages and for tables that are being cleared, in lanes. Few lanes have them: one by one. */
#pragma once

#include "lanes/memory.h"
#include "lanes/pte_write.h"
#include "lanes/slots.h"
#include "lanes/sync.h"

INLINE bool xen_oos_is_used(const struct knobs *knobs)
{
	return knobs->xen_oos_pages || knobs->xen_zero_writes;
}

/* The lanes in which no other shadow page is of the same gfn. */
static lanes_t xen_oos_may_unsync(struct machine *m, int32_t slot, bool speculative, lanes_t lanes)
{
	lanes_t others = NO_LANES;

	(void)speculative;
	FOR_EACH_SLOT(m, other, m->headers[slot].gfn)
		if (other != slot && !is_direct(&m->headers[other]))
			others |= m->headers[other].shadowed;
	return lanes & ~(others & m->knobs.xen_oos.xen_oos_pages_not_0);
}

/* The first place of a page in the table of a lane. */
INLINE int home_of(const struct machine *m, int32_t slot, int lane)
{
	int64_t name = m->headers[slot].gfn;

	if (has(m->knobs.xen_oos.xen_oos_hash[XEN_OOS_HASH_SCATTERED], lane))
		name = hash_64(name);
	return (int)(name % m->knobs.xen_oos.xen_oos_pages[lane]);
}

/* Have a page resynchronised before the guest runs again. */
static void make_due(struct machine *m, int32_t slot, int lane)
{
	struct xen_oos_machine *all = &m->xen_oos;

	all->due[slot] |= bit(lane);
	if (!all->is_listed[slot]) {
		all->is_listed[slot] = true;
		all->list[all->listed++] = slot;
	}
}

/* Note a page at one of its two places; what is there makes room (oos_hash_add). */
static void xen_oos_on_unsync(struct machine *m, struct vcpu *vcpu, int32_t slot, lanes_t lanes)
{
	lanes_t evicting = NO_LANES;

	FOR_EACH_LANE(lane, lanes & m->knobs.xen_oos.xen_oos_pages_not_0) {
		int size = m->knobs.xen_oos.xen_oos_pages[lane], at = home_of(m, slot, lane);
		int32_t newcomer = slot + 1, *place = &vcpu->xen_oos.places[at][lane];

		if (*place && size > 1 && home_of(m, *place - 1, lane) == at) {
			int32_t moved = *place;

			*place = newcomer;
			newcomer = moved;
			place = &vcpu->xen_oos.places[(at + 1) % size][lane];
		}
		if (*place) {
			evicting |= bit(lane);
			make_due(m, *place - 1, lane);
		}
		*place = newcomer;
	}
	count(m, COUNTER_OOS_EVICTIONS, evicting);
}

/* Resynchronise all pages of the vCPU (sh_resync_all). */
static void xen_oos_on_cr3(struct machine *m, struct vcpu *vcpu, lanes_t lanes)
{
	FOR_EACH_LANE(lane, lanes & m->knobs.xen_oos.xen_resync_at_cr3)
		for (int at = 0; at < m->knobs.xen_oos.xen_oos_pages[lane]; at++) {
			int32_t *place = &vcpu->xen_oos.places[at][lane];

			if (*place)
				make_due(m, *place - 1, lane);
			*place = 0;
		}
}

/* Forget a page that is in sync. */
static void xen_oos_on_sync(struct machine *m, int32_t slot, lanes_t lanes)
{
	m->xen_oos.due[slot] &= ~lanes;
	for (int which = 0; which < m->vcpus_used; which++)
		FOR_EACH_LANE(lane, lanes)
			for (int at = 0; at < m->knobs.xen_oos.xen_oos_pages[lane]; at++) {
				int32_t *place = &m->vcpus[which].xen_oos.places[at][lane];

				if (*place == slot + 1)
					*place = 0;
			}
}

static void xen_oos_on_zap(struct machine *m, int32_t slot, lanes_t lanes)
{
	lanes &= m->headers[slot].unsync;
	if (any(lanes))
		xen_oos_on_sync(m, slot, lanes);
}

/* Whether a slot stands before another in the order of gfns and roles. */
INLINE bool stands_before(const struct machine *m, int32_t slot, int32_t other)
{
	const struct page *a = &m->headers[slot], *b = &m->headers[other];

	return a->gfn != b->gfn ? a->gfn < b->gfn : a->key < b->key;
}

/* Resynchronise what is due in these lanes, in the order of gfns. */
static void xen_oos_on_exit_end(struct machine *m, lanes_t lanes)
{
	struct xen_oos_machine *all = &m->xen_oos;
	int32_t begin = m->work_used, kept = 0;

	if (!all->listed)
		return;
	for (int32_t i = 1; i < all->listed; i++)
		for (int32_t j = i; j && stands_before(m, all->list[j], all->list[j - 1]); j--) {
			int32_t swapped = all->list[j];

			all->list[j] = all->list[j - 1];
			all->list[j - 1] = swapped;
		}
	for (int32_t i = 0; i < all->listed; i++) {
		int32_t slot = all->list[i];

		if (any(all->due[slot] & lanes))
			add_work(m, slot, all->due[slot] & lanes);
		all->due[slot] &= ~lanes;
		all->is_listed[slot] = any(all->due[slot]);
		if (any(all->due[slot]))
			all->list[kept++] = slot;
	}
	all->listed = kept;
	sync_listed(m, begin);
}

/* Begin to count zeros anew after any other fault (reset_early_unshadow). */
static void xen_oos_on_fault(struct machine *m, struct vcpu *vcpu, lanes_t lanes)
{
	FOR_EACH_LANE(lane, lanes & m->knobs.xen_oos.xen_zero_writes_not_0)
		vcpu->xen_oos.zeros[lane] = 0;
}

/* Count aligned zeros to one table, or begin anew. */
static void xen_oos_on_write(struct machine *m, struct vcpu *vcpu, const struct written *written, int64_t times,
			     lanes_t lanes)
{
	struct xen_oos_vcpu *noted = &vcpu->xen_oos;
	bool is_aligned = written->stored_width >= 4 && written->stored_offset % written->stored_width == 0;
	bool is_zero = is_aligned && !read_entry(m, written->gfn, written->index);
	int32_t gfn = (int32_t)written->gfn + 1;

	m->xen_oos.cleared = NO_LANES;
	FOR_EACH_LANE(lane, lanes & m->knobs.xen_oos.xen_zero_writes_not_0) {
		if (!is_zero) {
			noted->zeros[lane] = 0;
			continue;
		}
		noted->zeros[lane] = noted->zeroed[lane] == gfn ? noted->zeros[lane] + times : times;
		noted->zeroed[lane] = gfn;
		if (noted->zeros[lane] >= m->knobs.xen_oos.xen_zero_writes[lane])
			m->xen_oos.cleared |= bit(lane);
	}
}

INLINE lanes_t xen_oos_gives_up(struct machine *m, int32_t slot, const struct written *written, lanes_t lanes)
{
	lanes_t cleared = written->by_guest ? lanes & m->xen_oos.cleared : NO_LANES;

	(void)slot;
	count(m, COUNTER_ZERO_WRITE_ZAPS, cleared);
	return cleared;
}

INLINE lanes_t xen_oos_watches(struct machine *m, const struct iterations *next, lanes_t lanes)
{
	return lanes & next->shadowed & m->knobs.xen_oos.xen_zero_writes_not_0;
}
