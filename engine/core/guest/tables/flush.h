#pragma once

#include "guest/state.h"

/* Load CR3 with the root of an address space, or with the kernel's own root (mm ABSENT). */
void load_root(struct guest *guest, int vcpu, int mm);

/*
 * Flush a range wherever the address space is loaded (Linux 6.1 flush_tlb_mm_range). A vCPU that has it loaded without
 * running it is not disturbed: it loads CR3 again before it runs it again.
 */
void flush_range(struct guest *guest, int vcpu, int mm, int64_t start, int64_t end);

/* Flush one page: INVLPG in every Linux. */
void flush_page(struct guest *guest, int vcpu, int mm, int64_t va);

/* Flush a whole address space with CR3 loads (Linux flush_tlb_mm). */
void flush_all(struct guest *guest, int vcpu, int mm);

/* Make every vCPU that has a dying address space loaded go to the kernel's root (Linux leave_mm). */
void leave_space(struct guest *guest, int mm);

/* Let the next access to a frame be a first touch again, because its entry changed. */
void forget_touches(struct guest *guest, int64_t gfn);
