#pragma once

#include "guest/state.h"

/* What `clear_entries` found in a range: the first page and the end of the last one; end 0 if there was none. */
struct cleared {
	int64_t start;
	int64_t end;
};

/*
 * Clear the level-1 entries of a range in rising order (Linux zap_pte_range). `insn` is MOV when the whole address
 * space dies and XCHG otherwise.
 */
struct cleared clear_entries(struct guest *guest, int vcpu, int mm, int64_t start, int64_t end, int insn);

/* Free the queued frames; the first queued ends on top of the free list (release_pages turns the order round). */
void free_gathered(struct guest *guest, int vcpu);

/* Unmap a range: XCHG of each entry, tables that became empty, one flush, frames (Linux unmap_region). */
void unmap_range(struct guest *guest, int vcpu, int mm, int64_t start, int64_t end);

/*
 * Tear an address space down (Linux exit_mmap); return its root, which lives until no vCPU borrows it any more.
 */
int64_t destroy_space(struct guest *guest, int vcpu, int mm);

/* Free the root of an address space that is gone (Linux mmdrop). */
void free_root(struct guest *guest, int vcpu, int64_t root);
