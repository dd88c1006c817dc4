#pragma once

#include "scheduler/state.h"

/* Tell whether a step is only written to the trace and changes nobody who runs. */
static inline bool is_plain(int kind)
{
	return kind != OPERATION_CLONE && kind != OPERATION_EXEC && kind < STEP_WAIT_CHILD;
}

/* Do the step of the process that runs on a vCPU, one that may change who runs. */
void do_special_step(struct scheduler *scheduler, int64_t vcpu);
