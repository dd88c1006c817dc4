/* The system calls that change an address space, or make and end processes. */
#pragma once

#include "guest/state.h"

/* Map a range; what was there is unmapped first. A mapping whose address nobody knows is found by its faults. */
void map_range(struct guest *guest, int vcpu, int mm, int64_t start, int64_t length, int64_t flags, int64_t comm);

/* Unmap a range. */
void unmap_call(struct guest *guest, int vcpu, int mm, int64_t start, int64_t length);

/* Change the protection of a range, area by area; flush once for each area that had pages. */
void protect_range(struct guest *guest, int vcpu, int mm, int64_t start, int64_t length, int64_t protection);

/* Move the program break; the first one seen only says where it is. */
void set_break(struct guest *guest, int vcpu, int mm, int64_t address);

/* Resize the area at an address in place; the operation does not say where Linux moved it, if it did. */
void remap_range(struct guest *guest, int vcpu, int mm, int64_t start, int64_t length);

/* Carry out MADV_DONTNEED: entries and frames go, areas and tables stay. Other advice changes no table. */
void advise_range(struct guest *guest, int vcpu, int mm, int64_t start, int64_t length, int64_t advice);

/* Make a thread or vfork child (shares the address space) or a forked child (gets a copy). */
void clone_process(struct guest *guest, int vcpu, struct process *process, const struct operation *operation);

/*
 * Give a process a new address space with its argument pages, the highest at `stack_page`; the old one goes if nobody
 * shares it.
 */
void exec_process(struct guest *guest, int vcpu, struct process *process, int64_t comm, int64_t stack_page);

/* Let a process exit: written files, address space, kernel data; the root goes at the next context switch. */
void end_process(struct guest *guest, int vcpu, struct process *process);
