#pragma once

#include "guest/state.h"

/* Allocate the hottest free frame of this vCPU; if there is none at all, note the failure and return frame 0. */
int64_t allocate_frame(struct guest *guest, int vcpu, int migrate, int kind);

/* Free a frame to the hot end of this vCPU's list (Linux free_unref_page). */
void free_frame(struct guest *guest, int vcpu, int64_t gfn);

/* Give the frames from `first` to `last` to the allocator at power-on, so that low frames are handed out first. */
void seed_free_lists(struct guest *guest, int64_t first, int64_t last);
