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

/* Whether a store has at least one byte, and all in one page. */
static inline bool is_in_page(const struct event *event)
{
	unsigned length = (unsigned)event->width * event->count, offset = (unsigned)(event->address % PAGE_SIZE);

	return (length > 0) & (offset + length <= PAGE_SIZE);
}

/* Whether nothing is wrong with a store: one branch that is foreseen well costs less than those of `wrong_event`. */
static inline bool is_right_store(const struct event *event, const struct event_limits *limits)
{
	return (event->address < limits->memory) & is_in_page(event) & (event->insn < INSTRUCTIONS);
}
