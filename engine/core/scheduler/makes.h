#pragma once

#include "scheduler/state.h"

enum decision {
	STARTS_LINE,
	ENDS_BUILD,
	MAKE_WAITS,
};

/*
 * Set up a process that has not run yet, a child of `parent` (a slot, or IDLE); return its slot, or IDLE with a noted
 * failure if none is free.
 */
int64_t create_task(struct scheduler *scheduler, int64_t template, int64_t parent, int64_t parent_register);

/* Start builds while there are both builds and tokens. */
void start_builds(struct scheduler *scheduler);

/* Give one free token back to the job server and wake who wants it. */
void offer_token(struct scheduler *scheduler);

/* Tell a make that a recipe line of its build has ended. */
void line_ended(struct scheduler *scheduler, int64_t draw, int64_t make);

/* Let a make decide at its LINES step; `given_back` is the number of tokens that it gives back. */
enum decision next_line(struct scheduler *scheduler, int64_t make, int64_t *given_back);
