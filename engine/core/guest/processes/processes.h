#pragma once

#include "guest/state.h"

/* Return a process by its pid, or NULL. */
struct process *find_process(const struct guest *guest, int64_t pid);

/* Enter a pid that is not in the table; NULL and a noted failure if the table is nearly full. */
struct process *add_process(struct guest *guest, int64_t pid, int mm, int64_t comm);

/* Take a process out of the table and close the gap, so that searches need no tombstones. */
void remove_process(struct guest *guest, struct process *process);

/* Allocate the kernel data of a process: frames that may have been tables. */
void take_process_data(struct guest *guest, int vcpu, struct process *process);

/* Free the kernel data of a process. */
void drop_process_data(struct guest *guest, int vcpu, struct process *process);
