#pragma once

#include "guest/state.h"

/*
 * Carry out operations from `*position` on, until they end or the buffer is full, and move `*position` behind the last
 * one that was carried out; return a STATUS_*.
 */
int run_operations(struct guest *guest, const struct operation *operations, int64_t count, int64_t *position);

/* Report the run time that is left. */
void finish_run(struct guest *guest);
