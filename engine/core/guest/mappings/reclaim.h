#pragma once

#include "guest/state.h"

/* Let a process write files: frames become page cache, the oldest ones are freed. */
void fill_file_pages(struct guest *guest, int vcpu);

/* Free frames until there are as many as wanted, or as many as one call may take. */
void reclaim(struct guest *guest, int vcpu, int64_t wanted);
