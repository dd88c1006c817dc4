#pragma once

#include "guest/state.h"

/* Touch what the page-fault path needs besides the tables: struct page and slab pages. */
void touch_for_fault(struct guest *guest, int vcpu);

/* Emit the touches that became due since the last operation of this vCPU. */
void retouch(struct guest *guest, int vcpu);
