/* Events that no guest can make (the same rules as in engine/checks.py). */
#pragma once

#include <stddef.h>

#include "layout.h"

/* What events are held against; run time and window go along with them. */
struct event_limits {
	uint64_t memory; /* bytes of the guest */
	int vcpus;
	uint64_t run; /* ns of all vCPUs so far */
	uint64_t window;
};

/* Return what is wrong with the first wrong event, and set its row; WRONG_NOTHING and row 0 if none is. */
int first_wrong_event(const struct event *events, size_t count, struct event_limits *limits, size_t *row);
