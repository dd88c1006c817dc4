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

/* Whether a store ends within its page, so that nothing behind this reaches beyond the machine. */
INLINE bool is_store_sound(const struct event *event)
{
	unsigned end = (unsigned)(event->address & 4095) + (unsigned)event->count * event->width;

	return (end <= 4096) & (event->width > 0) & (event->count > 0);
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
	if (access & ACCESS_USER_VA || !pending)
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
	while (pending) {
		lanes_t faults = access_lanes(m, vcpu, gva, pending, false);

		if (!faults)
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

	if (gfn >= (uint64_t)m->pages)
		return;
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

	if (!m->knobs.shadow) {
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

	if (gfn >= (uint64_t)m->pages)
		return;
	count(m, COUNTER_CR3_LOADS, m->knobs.all & ~m->knobs.shadow);
	if (m->knobs.shadow)
		load_cr3(m, vcpu, (int64_t)gfn, m->knobs.shadow);
	else
		vcpu->cr3 = (int32_t)gfn;
}

/* Memory changes without a store: a page becomes a table, or has contents from the start. */
static void set_memory(struct machine *m, const struct event *event)
{
	uint64_t gfn = event->address >> 12;

	if (gfn >= (uint64_t)m->pages)
		return;
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

/* Carry out an event in all lanes; what is wrong with it if it is none. */
INLINE enum stop carry_out(struct machine *m, const struct event *event)
{
	struct vcpu *vcpu = &m->vcpus[event->vcpu];

	if (UNLIKELY(event->vcpu >= m->vcpus_used))
		return STOP_BAD_VCPU;
	m->now = &m->tallies[event->activity < ACTIVITIES ? event->activity : ACTIVITY_NONE];
	if (event->kind == EVENT_TOUCH) {
		touch(m, vcpu, event->address, event->access);
	} else if (event->kind == EVENT_STORE) {
		if (UNLIKELY(!is_store_sound(event)))
			return STOP_BAD_STORE;
		store(m, vcpu, event);
	} else {
		if (UNLIKELY(event->kind >= EVENT_WINDOW))
			return event->kind == EVENT_WINDOW ? STOP_WINDOW : STOP_BAD_KIND;
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
	m->has_grown = true;
	for (size_t i = start; i < count; i++) {
		if (m->has_grown) {
			enum stop full = room(m);

			if (UNLIKELY(full != STOP_DONE))
				return (struct advanced){i, full};
			m->has_grown = false;
		}
		if (LIKELY(i + EVENTS_AHEAD < count) && m->guesses)
			look_ahead(m, &events[i + EVENTS_AHEAD]);
		enum stop why = carry_out(m, &events[i]);

		if (UNLIKELY(why != STOP_DONE))
			return (struct advanced){why == STOP_WINDOW ? i + 1 : i, why};
		if (!is_same_beside(m, &events[i]))
			return (struct advanced){i, STOP_DIFFERENCE};
	}
	return (struct advanced){count, STOP_DONE};
}
