#pragma once

#include "scheduler/state.h"

/* Fill the buffer with the next operations; return a STATUS_*. No operation is left if it comes back empty. */
int run_scheduler(struct scheduler *scheduler);
