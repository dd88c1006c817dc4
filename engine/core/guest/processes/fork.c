/*
 * Copy an address space as fork does, and only what fork copies.
 * Source: mm/memory.c of Linux 6.1 (copy_page_range, vma_needs_copy, copy_present_pte); order of stores: the recording.
 */
#include "fork.h"

#include <string.h>

#include "guest/emit.h"
#include "guest/tables/flush.h"
#include "guest/tables/tables.h"
#include "spaces.h"

/* Make the parent's entry of a page read-only (Linux ptep_set_wrprotect, or a guest's own way to do it). */
static void protect_entry(struct guest *guest, int vcpu, int64_t table, int index, uint64_t entry, int live)
{
	if (guest->world->cmpxchg) {
		write_entry(guest, vcpu, table, index, entry, INSTRUCTION_CMPXCHG, live);
		return;
	}
	/* LOCK AND clears the bit in the byte that holds it. */
	table_entries(guest, table)[index] = entry;
	emit_store(guest, vcpu, (table << PAGE_SHIFT) + index * ENTRY_BYTES, entry, INSTRUCTION_LOCK_AND, 1, live);
}

/* Copy one entry: write-protect the parent's if it is writable; the child's is read-only and old. */
static void copy_page(struct guest *guest, int vcpu, int64_t source, int64_t target, int index, int live)
{
	uint64_t entry = table_entries(guest, source)[index];
	struct guest_frame *frame = &guest->frames[gfn_of(entry)];

	if (entry & PTE_WRITABLE) {
		entry &= ~(uint64_t)PTE_WRITABLE;
		protect_entry(guest, vcpu, source, index, entry, live);
		forget_touches(guest, gfn_of(entry));
	}
	if (frame->kind == FRAME_ANONYMOUS)
		frame->references++;
	write_entry(guest, vcpu, target, index, entry & ~(uint64_t)PTE_ACCESSED, INSTRUCTION_MOV, 0);
}

/* Copy the entries of one area, table by table (Linux copy_page_range). */
static void copy_area_pages(struct guest *guest, int vcpu, int parent, int child, const struct area *area)
{
	int64_t root = guest->mms[parent].root;
	int live = live_flag(&guest->mms[parent]);
	int64_t va = area->start;

	while (va < area->end) {
		int64_t limit = least(area->end, (va & ~(span_bytes(2) - 1)) + span_bytes(2));
		int64_t source = find_table(guest, root, va, 1);
		int64_t target;

		if (source == ABSENT) {
			va = after_gap(guest, root, va);
			continue;
		}
		target = ensure_table(guest, vcpu, child, va);
		if (target == 0)
			return;
		for (int64_t page = va; page < limit; page += PAGE_SIZE) {
			int index = index_of(page, 1);

			if (is_mapped(table_entries(guest, source)[index])) {
				copy_page(guest, vcpu, source, target, index, live);
				guest->mms[child].resident++;
			}
		}
		va = limit;
	}
}

/* Copy all areas and the ring of recent pages. */
static void copy_area_list(struct guest *guest, int parent, int child)
{
	const struct mm *from = &guest->mms[parent];
	struct mm *to = &guest->mms[child];

	memcpy(guest->areas[child], guest->areas[parent], (size_t)from->areas * sizeof(guest->areas[0][0]));
	memcpy(guest->recent[child], guest->recent[parent],
	       (size_t)least(from->recent, RECENT) * sizeof(guest->recent[0][0]));
	to->areas = from->areas;
	to->recent = from->recent;
	to->program_break = from->program_break;
}

int fork_space(struct guest *guest, int vcpu, int parent)
{
	int child = new_space(guest, vcpu, guest->mms[parent].comm);

	if (child == ABSENT)
		return ABSENT;
	copy_area_list(guest, parent, child);
	for (int index = 0; index < guest->mms[parent].areas; index++) {
		const struct area *area = &guest->areas[parent][index];

		if (area->flags & VM_PRIVATE_PAGES && !(area->flags & VM_SHARED))
			copy_area_pages(guest, vcpu, parent, child, area);
	}
	flush_all(guest, vcpu, parent);
	return child;
}
