#pragma once

#include "guest/state.h"

/*
 * Build the kernel's tables, give the free frames to the allocator, and emit what says so: LINK of each table, CONTENT
 * of each entry, CR3 of each vCPU. Return a STATUS_*.
 */
int power_on(struct guest *guest);
