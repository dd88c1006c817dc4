#pragma once

#include "guest/state.h"

/*
 * Copy an address space: areas with privately written pages entry by entry, others not at all; flush the parent (Linux
 * dup_mmap). ABSENT and a noted failure if there is no room.
 */
int fork_space(struct guest *guest, int vcpu, int parent);
