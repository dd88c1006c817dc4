/* Guest memory that was ever a table, and the walk of the guest's tables; the same for all lanes. */
#pragma once

#include "state.h"

enum { ACC_EXEC = 1, ACC_WRITE = 2, ACC_USER = 4, ACC_ALL = 7 };

INLINE int access_of(uint64_t gpte)
{
	return (gpte & PTE_NO_EXECUTE ? 0 : ACC_EXEC) | (int)(gpte & (PTE_WRITABLE | PTE_USER));
}
_Static_assert((int)ACC_WRITE == (int)PTE_WRITABLE && (int)ACC_USER == (int)PTE_USER,
	       "access bits of an entry are taken as they stand");

/* Whether an entry of a table of `level` maps a large page; that of a root never does. */
INLINE bool is_large_entry(uint64_t gpte, int level)
{
	return gpte & PTE_LARGE && level > 1 && level < ROOT_LEVEL;
}

/* An 8-byte entry of guest memory; what was never written reads as zero. */
INLINE uint64_t read_entry(const struct machine *m, int64_t gfn, int index)
{
	int32_t table = m->frames[gfn].table;

	/* Table 0 is never written to. */
	return m->tables[table][index];
}

/* Where a frame's contents are; room for them is made if there was none (`room` in events.h keeps some). */
INLINE int32_t table_of(struct machine *m, int64_t gfn)
{
	if (UNLIKELY(m->frames[gfn].table == NONE)) {
		m->frames[gfn].table = m->tables_made++;
		m->has_grown = true;
	}
	return m->frames[gfn].table;
}

/* Walk the guest's tables as the CPU does, into `m->walk`; false if they do not allow the access. */
static bool walk_guest(struct machine *m, const struct vcpu *vcpu, uint64_t gva, bool write)
{
	struct walk *walk = &m->walk;
	uint64_t *entries[ROOT_LEVEL + 1];
	int64_t table = vcpu->cr3;
	int access = ACC_ALL, level = ROOT_LEVEL;
	uint64_t gpte;

	if (table == NO_GFN)
		return false;
	for (;; level--) {
		int32_t contents = m->frames[table].table;

		walk->table[level] = (int32_t)table;
		walk->table_access[level] = access;
		if (contents == NONE)
			return false;
		entries[level] = &m->tables[contents][index_of(gva, level)];
		gpte = *entries[level];
		if (!(gpte & PTE_PRESENT))
			return false;
		access &= access_of(gpte);
		if (level == 1 || is_large_entry(gpte, level))
			break;
		table = gfn_of(gpte);
		if (table >= m->pages)
			return false;
	}
	int64_t span = span_mask(level);
	int64_t gfn = (gfn_of(gpte) & ~span) | ((int64_t)(gva >> 12) & span);

	if (gfn >= m->pages || (write && !(access & ACC_WRITE)))
		return false;
	for (int above = level; above <= ROOT_LEVEL; above++)
		*entries[above] |= PTE_ACCESSED;
	if (write)
		*entries[level] |= PTE_DIRTY;
	else if (!(gpte & PTE_DIRTY))
		access &= ~ACC_WRITE;
	walk->gfn = gfn;
	walk->level = level;
	walk->access = access;
	return true;
}

/* Whether the guest's entries for `gva` are present, whatever access they grant. */
static bool is_mapped(const struct machine *m, const struct vcpu *vcpu, uint64_t gva)
{
	int64_t table = vcpu->cr3;

	if (table == NO_GFN)
		return false;
	for (int level = ROOT_LEVEL;; level--) {
		uint64_t gpte = read_entry(m, table, index_of(gva, level));

		if (!(gpte & PTE_PRESENT))
			return false;
		if (level == 1 || is_large_entry(gpte, level))
			return true;
		table = gfn_of(gpte);
		if (table >= m->pages)
			return false;
	}
}
