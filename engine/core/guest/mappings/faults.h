#pragma once

#include "guest/state.h"

/* Build the level-1 entry of a user page: young, and dirty if it is writable. */
uint64_t page_entry(int64_t gfn, int flags, bool writable);

/* Allocate a frame for a private page of an address space; 0 and a noted failure if there is none. */
int64_t new_user_frame(struct guest *guest, int vcpu, int mm, int64_t va);

/* Set the entry of a page that has none (Linux set_pte). */
void set_page(struct guest *guest, int vcpu, int mm, int64_t table, int64_t va, uint64_t entry);

/* Note a touch by the entry of a page, with the bits that the CPU sets in it; tell whether it is the first. */
bool mark_seen(struct guest *guest, int vcpu, uint64_t *entry, int access);

/* Put a page at the head of the ring that retouches draw from. */
void remember_page(struct guest *guest, int mm, int64_t va);

/* Carry out one recorded fault; if the tables allow the access already, it is a touch only (Linux handle_pte_fault). */
void page_fault(struct guest *guest, int vcpu, int mm, int64_t va, int access, int64_t comm);
