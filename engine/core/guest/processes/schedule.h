#pragma once

#include "guest/state.h"

/* Add the time since the last operation to a vCPU that is running. */
void account_run(struct guest *guest, int vcpu, int64_t now);

/* Emit the run time that was not yet reported. */
void report_run(struct guest *guest, int vcpu);

/*
 * Start every window that begins up to now, after the run time that belongs to the window before. False if the buffer
 * is full before the last of them; the next call goes on from there.
 */
bool open_windows(struct guest *guest, int64_t now);

/* Stop the process that runs on a vCPU; its address space stays loaded (lazy TLB). */
void switch_out(struct guest *guest, int vcpu);

/*
 * Run a process; CR3 is loaded only if its address space is another one (Linux switch_mm_irqs_off). Kernel threads
 * have none.
 */
void switch_in(struct guest *guest, int vcpu, int64_t pid);

/* Free the root of an address space that this vCPU was the last to borrow (Linux finish_task_switch). */
void free_dead_root(struct guest *guest, int vcpu);
