/*
 * The lane machine as the rest of the core sees it: up to 64 policies over one trace.
 *
 * It is compiled once for each level of the instruction set; `lanes_functions()` returns the best that this CPU has.
 */
#pragma once

#include "layout.h"

struct machine;

/* Why `advance` stopped. */
enum stop {
	STOP_DONE,
	STOP_WINDOW,     /* after a WINDOW event */
	STOP_NO_SLOTS,   /* before an event for which there may be no room */
	STOP_NO_TABLES,
	STOP_NO_ODD,
	STOP_WRONG,      /* at an event that the guest cannot make */
	STOP_DIFFERENCE, /* checked builds: a fast path differs from the slow one */
};

struct advanced {
	size_t next;
	enum stop why;
	int wrong;       /* STOP_WRONG: what is wrong with it */
	uint64_t window; /* the last that began */
};

struct lanes_functions {
	const char *name; /* of the instruction set */
	/* A machine for so many lanes, or NULL where memory is short. `pool_pages` of the knobs is never 0. */
	struct machine *(*create)(const struct knobs *knobs, int lanes, int64_t pages, int vcpus);
	void (*destroy)(struct machine *machine);
	/* Advance all lanes from event `start` on, to the end or to what is a reason to stop. */
	struct advanced (*advance)(struct machine *machine, const struct event *events, size_t count, size_t start);
	/* Write counters[activity][lane][counter] so far, and the most pages that each lane had in use. */
	void (*read)(struct machine *machine, int lanes, int64_t (*counters)[COUNTERS], int64_t *peaks);
	/* What there is room for: slots, tables, odd entries. */
	int64_t capacity[3];
	int64_t frames;
	int64_t vcpus;
	/* Memory that a machine takes, whatever the number of lanes. */
};

const struct lanes_functions *lanes_functions(void);
