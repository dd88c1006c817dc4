#pragma once

#include "scheduler/state.h"

/* Write an operation without address at the present time, and return it. */
struct operation *emit_operation(struct scheduler *scheduler, int64_t slot, int64_t vcpu, int kind, uint32_t flags);

/* Stop the process that runs on a vCPU. */
void stop_running(struct scheduler *scheduler, int64_t vcpu, int status);

/* Run the leftmost process on an idle vCPU; pull one from the longest queue if the own is empty (pick_next_task_fair). */
void pick_next(struct scheduler *scheduler, int64_t vcpu);

/* Preempt at the end of a slice if another process is behind in virtual run time (check_preempt_tick). */
void end_slice(struct scheduler *scheduler, int64_t vcpu);

/* Take a process off its vCPU until something happens, and run the next one. */
void block(struct scheduler *scheduler, int64_t vcpu, int waits, int64_t waits_for);

/* Make a blocked process ready; it may preempt what runs on its vCPU (try_to_wake_up, check_preempt_wakeup). */
void wake(struct scheduler *scheduler, int64_t slot);

/* Make a new process ready on an idle vCPU, or else on the one with the shortest queue (wake_up_new_task). */
void start_new(struct scheduler *scheduler, int64_t slot);
