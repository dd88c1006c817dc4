/* Events that no guest can make (the same rules as in engine/checks.py). */
#pragma once

#include "layout.h"

/* What events are held against; run time and window go along with them. */
struct event_limits {
	uint64_t memory; /* bytes of the guest */
	int vcpus;
	uint64_t run; /* ns of all vCPUs so far */
	uint64_t window;
};

/* Return what is wrong with an event, or WRONG_NOTHING. Run time and window go on to those after it. */
int wrong_event(const struct event *event, struct event_limits *limits);

/*
 * Whether an event is one of the frequent kinds, and right. Nine of ten are: one branch that is foreseen well costs less
 * than the many of `wrong_event`.
 */
static inline bool is_plain(const struct event *event, const struct event_limits *limits)
{
	unsigned length = (unsigned)event->width * event->count, offset = (unsigned)(event->address % PAGE_SIZE);
	bool uses = (event->kind == EVENT_TOUCH) | (event->kind == EVENT_GUEST_FAULT);
	bool stores = (event->kind == EVENT_STORE) & (event->address < limits->memory) & (length > 0) &
		      (offset + length <= PAGE_SIZE) & (event->insn < INSTRUCTIONS);

	return (event->vcpu < limits->vcpus) & (uses | stores);
}
