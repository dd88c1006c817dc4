/* The event loop: each event advances all lanes. */
#pragma once

#include "ahead.h"
#ifdef CHECK_FAST_PATHS
#include "checked.h"
#endif
#include "counting.h"
#include "faults.h"
#include "invlpg.h"
#include "lanes.h"
#include "memory.h"
#include "paths.h"
#include "pte_write.h"
#include "quick.h"
#include "roots.h"
#include "slots.h"
#include "state.h"
#include "writes.h"

enum {
	/* One event looks up the tables of one walk, with direct pages below, and a root of each vCPU. */
	SLOTS_PER_EVENT = VCPUS + 2 * ROOT_LEVEL,
	/* It renews all entries of a page in each access at the most, and those of a walk and its prefetch. */
	ODD_PER_EVENT = (ENTRIES * (ACC_ALL + 1) + 2 * (PREFETCH_SPTES + ROOT_LEVEL)) * LANES,
};
_Static_assert((int)ODD_PER_EVENT < (int)ODD_ENTRIES, "there is room for what one event can need");

INLINE enum stop room(const struct machine *m)
{
	if (SLOTS - m->slots_made + m->slots_free < SLOTS_PER_EVENT)
		return STOP_NO_SLOTS;
	if (m->tables_made + 1 >= TABLES)
		return STOP_NO_TABLES;
	if (m->odd_used + ODD_PER_EVENT > ODD_ENTRIES)
		return STOP_NO_ODD;
	return STOP_DONE;
}

/* The guest uses `gva`; its own tables allow or forbid it. */
OUT_OF_LINE void walk_and_touch(struct machine *m, struct vcpu *vcpu, uint64_t gva, int access)
{
	bool write = access & ACCESS_WRITE;
	lanes_t pending = m->knobs.shadow;

	if (!walk_guest(m, vcpu, gva, write))
		return;
	if (write) {
		vcpu->store_va = gva;
		vcpu->store_gfn = (int32_t)m->walk.gfn;
	}
	if (access & ACCESS_USER_VA || !any(pending))
		return;
	if (write) {
		int64_t gpa = m->walk.gfn << 12 | (int64_t)(gva & 4088);
		struct store op = {
			.gva = gva & ~UINT64_C(7),
			.gpa = gpa,
			.value = read_entry(m, gpa >> 12, (int)(gpa & 4095) >> 3),
			.width = 8,
			.count = 1,
			.instruction = INSTRUCTION_MOV,
			.live = true,
		};

		store_in_lanes(m, vcpu, &op, pending);
		return;
	}
	while (any(pending)) {
		lanes_t faults = access_lanes(m, vcpu, gva, pending, false);

		if (!any(faults))
			return;
		walk_guest(m, vcpu, gva, false);
		pending = page_fault(m, vcpu, gva, faults, false, false).retry;
		finish_exit(m, faults);
	}
}

INLINE void touch(struct machine *m, struct vcpu *vcpu, uint64_t gva, int access)
{
	m->now->touches++;
	if (m->guesses && quick_touch(m, vcpu, gva, access))
		return;
	walk_and_touch(m, vcpu, gva, access);
	if (m->guesses)
		remember_way(m, vcpu, gva);
}

INLINE void store(struct machine *m, struct vcpu *vcpu, const struct event *event)
{
	uint64_t gfn = event->address >> 12;

	m->now->stores += event->count;
	uint64_t page = DIRECT_MAP_BASE + (gfn << 12);

	if (event->access & ACCESS_USER_VA && vcpu->store_gfn == (int64_t)gfn)
		page = vcpu->store_va & ~UINT64_C(4095);
	struct store op = {
		.gva = page | (event->address & 4095),
		.gpa = (int64_t)event->address,
		.value = event->value,
		.width = event->width,
		.count = event->count,
		.instruction = event->insn,
		.live = event->access & ACCESS_LIVE,
	};

	if (!any(m->knobs.shadow)) {
		write_memory(m, &op);
		return;
	}
	if (m->guesses && quick_store(m, vcpu, &op))
		return;
	store_in_lanes(m, vcpu, &op, m->knobs.shadow);
	if (m->guesses)
		remember_way(m, vcpu, op.gva);
}

static void load_root_table(struct machine *m, struct vcpu *vcpu, uint64_t cr3)
{
	uint64_t gfn = cr3 >> 12;

	count(m, COUNTER_CR3_LOADS, m->knobs.all & ~m->knobs.shadow);
	if (any(m->knobs.shadow))
		load_cr3(m, vcpu, (int64_t)gfn, m->knobs.shadow);
	else
		vcpu->cr3 = (int32_t)gfn;
}

/* Memory changes without a store: a page becomes a table, or has contents from the start. */
static void set_memory(struct machine *m, const struct event *event)
{
	uint64_t gfn = event->address >> 12;
	bool is_new = m->frames[gfn].table == NONE;
	uint64_t *entries = m->tables[table_of(m, (int64_t)gfn)];

	/* What is new is all zeros. */
	if (event->kind == EVENT_CONTENT)
		entries[(event->address & 4095) >> 3] = event->value;
	else if (!is_new)
		memset(entries, 0, sizeof m->tables[0]);
}

/* The events that are rare. */
OUT_OF_LINE void carry_out_rare(struct machine *m, const struct event *event)
{
	struct vcpu *vcpu = &m->vcpus[event->vcpu];

	switch (event->kind) {
	case EVENT_GUEST_FAULT:
		inject_fault(m, vcpu, event->address, m->knobs.shadow);
		break;
	case EVENT_CR3:
		load_root_table(m, vcpu, event->value);
		break;
	case EVENT_INVLPG:
		invalidate_page(m, vcpu, event->address, m->knobs.shadow);
		break;
	case EVENT_FLUSH_ALL:
		flush_all(m, vcpu, m->knobs.shadow);
		break;
	case EVENT_RUN:
		m->now->run_ns += event->value;
		break;
	default:
		set_memory(m, event);
	}
}

/* Stop at an event that the guest cannot make, so that no number in it leads out of the machine. */
OUT_OF_LINE enum stop refuse(struct machine *m, const struct event *event)
{
	m->wrong = wrong_event(event, &m->limits);
	return m->wrong == WRONG_NOTHING ? STOP_DONE : STOP_WRONG;
}

/* Carry out an event in all lanes; whether there is a reason to stop at it, or after it. */
INLINE enum stop carry_out(struct machine *m, const struct event *event)
{
	if (UNLIKELY(event->vcpu >= m->limits.vcpus))
		return refuse(m, event);
	struct vcpu *vcpu = &m->vcpus[event->vcpu];

	m->now = &m->tallies[event->activity < ACTIVITIES ? event->activity : ACTIVITY_NONE];
	if (event->kind == EVENT_TOUCH) {
		touch(m, vcpu, event->address, event->access);
	} else if (event->kind == EVENT_STORE) {
		if (UNLIKELY(!is_right_store(event, &m->limits)))
			return refuse(m, event);
		store(m, vcpu, event);
	} else {
		enum stop why = refuse(m, event);

		if (UNLIKELY(why != STOP_DONE || event->kind == EVENT_WINDOW))
			return why == STOP_DONE ? STOP_WINDOW : why;
		carry_out_rare(m, event);
	}
	if (m->deferred_used)
		free_deferred(m);
	return STOP_DONE;
}

/* Checked builds: carry out an event in the second machine as well; whether that made the same of it. */
INLINE bool is_same_beside(struct machine *m, const struct event *event)
{
#ifdef CHECK_FAST_PATHS
	carry_out(m->beside, event);
	return same_state(m, m->beside);
#else
	(void)m;
	(void)event;
	return true;
#endif
}

static struct advanced advance(struct machine *m, const struct event *events, size_t count, size_t start)
{
	size_t i = start;
	enum stop why = STOP_DONE;

	m->has_grown = true;
	for (; i < count; i++) {
		if (m->has_grown) {
			why = room(m);
			if (UNLIKELY(why != STOP_DONE))
				break;
			m->has_grown = false;
		}
		if (LIKELY(i + EVENTS_AHEAD < count) && m->guesses)
			look_ahead(m, &events[i + EVENTS_AHEAD]);
		why = carry_out(m, &events[i]);
		if (UNLIKELY(why != STOP_DONE)) {
			i += why == STOP_WINDOW;
			break;
		}
		if (!is_same_beside(m, &events[i])) {
			why = STOP_DIFFERENCE;
			break;
		}
	}
	return (struct advanced){.next = i, .why = why, .wrong = m->wrong, .window = m->limits.window};
}
