#pragma once

#include "guest/emit.h"
#include "guest/state.h"
#include "x86.h"

/* Tell whether Linux has a page here: present, or made inaccessible by PROT_NONE. */
static inline bool is_mapped(uint64_t entry)
{
	return (entry & (PTE_PRESENT | PTE_GLOBAL)) != 0;
}

/* Return the entries of a frame, or NULL if it is no table. */
static inline uint64_t *table_entries(const struct guest *guest, int64_t gfn)
{
	int32_t contents = guest->frames[gfn].contents;

	return contents == 0 ? NULL : guest->entries[contents - 1];
}

/* Return the table that the entry of `table` (of `level`) leads to, or ABSENT; so for a frame that is no table. */
static inline int64_t table_below(const struct guest *guest, int64_t table, int64_t va, int level)
{
	const uint64_t *entries = table_entries(guest, table);

	if (entries == NULL || !(entries[index_of(va, level)] & PTE_PRESENT))
		return ABSENT;
	return gfn_of(entries[index_of(va, level)]);
}

/* Return the table of a level on the way to an address, or ABSENT. */
static inline int64_t find_table(const struct guest *guest, int64_t root, int64_t va, int level)
{
	int64_t table = root;

	for (int above = ROOT_LEVEL; above > level && table != ABSENT; above--)
		table = table_below(guest, table, va, above);
	return table;
}

/* Return the place of the level-1 entry of an address, or NULL if there is no table. */
static inline uint64_t *find_entry(const struct guest *guest, int64_t root, int64_t va)
{
	int64_t table = find_table(guest, root, va, 1);
	uint64_t *entries = table == ABSENT ? NULL : table_entries(guest, table);

	return entries == NULL ? NULL : &entries[index_of(va, 1)];
}

/*
 * Return where the next level-1 table may begin above an address that has none: the end of what is absent. Loops over
 * a range step by it, so that a mapping costs what is present in it, whatever its size.
 */
int64_t after_gap(const struct guest *guest, int64_t root, int64_t va);

/* Store one entry of a table. */
void write_entry(struct guest *guest, int vcpu, int64_t table, int index, uint64_t value, int insn, int access);

/* Clear a page that is to hold data: stores if it was a table once, one touch of the direct map otherwise. */
void clear_frame(struct guest *guest, int vcpu, int64_t gfn);

/* Copy a page to another. */
void copy_frame(struct guest *guest, int vcpu, int64_t source, int64_t gfn);

/* Forget the contents of a table whose frame is about to be freed. */
void release_table(struct guest *guest, int64_t gfn);

/*
 * Return the level-1 table of an address; allocate what is missing: clear it, then store the parent's entry (Linux
 * __pte_alloc). 0 and a noted failure if there is no room.
 */
int64_t ensure_table(struct guest *guest, int vcpu, int mm, int64_t va);

/* Allocate a root: cleared, then the kernel half copied from the kernel's own root (Linux pgd_ctor). */
int64_t allocate_root(struct guest *guest, int vcpu);
