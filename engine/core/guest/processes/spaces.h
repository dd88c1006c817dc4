#pragma once

#include "guest/state.h"

/* Make an empty address space with a root (Linux mm_alloc); ABSENT and a noted failure if there is no room. */
int new_space(struct guest *guest, int vcpu, int64_t comm);

/*
 * Give up one use of an address space (Linux mmput); tear it down if it was the last, and return its root, else ABSENT.
 */
int64_t drop_space(struct guest *guest, int vcpu, int mm);

/* Return the address space of a process that turns out to be a user process; load it if it runs here. */
int ensure_space(struct guest *guest, int vcpu, struct process *process, int64_t comm);
