/*
 * Unmap ranges and whole address spaces in Linux' order: entries, tables, flush, frames.
 * Source: mm/memory.c and mm/mmap.c of Linux 6.1 (unmap_vmas, free_pgtables, exit_mmap, tlb_finish_mmu).
 */
#include "teardown.h"

#include "areas.h"
#include "guest/frames/allocator.h"
#include "guest/tables/flush.h"
#include "guest/tables/tables.h"

/* Queue a frame to be freed after the flush. Each frame is queued once, and there is a place for each. */
static void gather_frame(struct guest *guest, int64_t gfn)
{
	struct world *world = guest->world;

	if (world->gathered < guest->gather_room)
		guest->gather[world->gathered++] = gfn;
}

void free_gathered(struct guest *guest, int vcpu)
{
	struct world *world = guest->world;

	while (world->gathered > 0) {
		int64_t gfn = guest->gather[--world->gathered];

		if (guest->frames[gfn].kind == FRAME_TABLE)
			release_table(guest, gfn);
		free_frame(guest, vcpu, gfn);
	}
}

/* Give up one mapping of a frame; queue the frame if it was the last (Linux page_remove_rmap). */
static void drop_page(struct guest *guest, uint64_t entry)
{
	struct guest_frame *frame = &guest->frames[gfn_of(entry)];

	if (frame->kind == FRAME_ANONYMOUS && --frame->references == 0)
		gather_frame(guest, gfn_of(entry));
}

struct cleared clear_entries(struct guest *guest, int vcpu, int mm, int64_t start, int64_t end, int insn)
{
	struct mm *space = &guest->mms[mm];
	int live = live_flag(space);
	struct cleared cleared = {0, 0};
	int64_t va = start;

	while (va < end) {
		int64_t limit = least(end, (va & ~(span_bytes(2) - 1)) + span_bytes(2));
		int64_t table = find_table(guest, space->root, va, 1);

		if (table == ABSENT) {
			va = after_gap(guest, space->root, va);
			continue;
		}
		for (int64_t page = va; page < limit; page += PAGE_SIZE) {
			int index = index_of(page, 1);
			uint64_t entry = table_entries(guest, table)[index];

			if (!is_mapped(entry))
				continue;
			write_entry(guest, vcpu, table, index, 0, insn, live);
			space->resident--;
			drop_page(guest, entry);
			if (cleared.end == 0)
				cleared.start = page;
			cleared.end = page + PAGE_SIZE;
		}
		va = limit;
	}
	return cleared;
}

/* Unlink the table that the entry of a level leads to, and queue its frame (Linux free_pte_range and its like). */
static void free_table_below(struct guest *guest, int vcpu, int mm, int64_t va, int level)
{
	struct mm *space = &guest->mms[mm];
	int64_t above = find_table(guest, space->root, va, level);
	int64_t below = above == ABSENT ? ABSENT : table_below(guest, above, va, level);

	if (below == ABSENT)
		return;
	write_entry(guest, vcpu, above, index_of(va, level), 0, INSTRUCTION_MOV, live_flag(space));
	space->tables--;
	gather_frame(guest, below);
}

/* Free the tables of a range that map nothing else between floor and ceiling (Linux free_pgd_range). */
static void free_tables(struct guest *guest, int vcpu, int mm, int64_t start, int64_t end, int64_t floor,
			int64_t ceiling)
{
	int64_t root = guest->mms[mm].root;
	int64_t va = start & ~(span_bytes(2) - 1);

	while (va < end) {
		int64_t following = va + span_bytes(2);

		if (find_table(guest, root, va, 2) == ABSENT)
			following = after_gap(guest, root, va);
		else if (va >= floor && following <= ceiling)
			free_table_below(guest, vcpu, mm, va, 2);
		for (int level = 3; level <= ROOT_LEVEL; level++) {
			int64_t span = span_bytes(level);
			int64_t first = va & ~(span - 1);

			if (following < end && following & (span - 1))
				break;
			if (first >= floor && first + span <= ceiling)
				free_table_below(guest, vcpu, mm, va, level);
		}
		va = following;
	}
}

/*
 * Take the areas of a range out, splitting those that reach beyond it. Where there is no room to split, an area that
 * reaches beyond one end is cut short, and one beyond both stays.
 */
static void remove_areas(struct guest *guest, int mm, int64_t start, int64_t end)
{
	struct area *row = guest->areas[mm];
	struct mm *space = &guest->mms[mm];
	int index;

	split_area(guest, mm, start);
	split_area(guest, mm, end);
	index = first_area_after(guest, mm, start);
	if (index < space->areas && row[index].start < start) {
		if (row[index].end <= end)
			row[index].end = start;
		index++;
	}
	while (index < space->areas && row[index].end <= end)
		close_place(guest, mm, index);
	if (index < space->areas && row[index].start < end)
		row[index].start = end;
	space->last_area = 0;
}

void unmap_range(struct guest *guest, int vcpu, int mm, int64_t start, int64_t end)
{
	const struct area *row = guest->areas[mm];
	const struct mm *space = &guest->mms[mm];
	int index = first_area_after(guest, mm, start);
	struct cleared cleared;
	int64_t low, floor, ceiling;

	if (index == space->areas || row[index].start >= end)
		return;
	low = most(start, row[index].start);
	remove_areas(guest, mm, start, end);
	cleared = clear_entries(guest, vcpu, mm, low, end, INSTRUCTION_XCHG);
	index = first_area_after(guest, mm, start);
	floor = index > 0 ? row[index - 1].end : 0;
	ceiling = index < space->areas ? row[index].start : USER_END;
	free_tables(guest, vcpu, mm, low, end, floor, ceiling);
	if (cleared.end)
		flush_range(guest, vcpu, mm, cleared.start, cleared.end);
	free_gathered(guest, vcpu);
}

int64_t destroy_space(struct guest *guest, int vcpu, int mm)
{
	const struct area *row = guest->areas[mm];
	const struct mm *space = &guest->mms[mm];
	struct world *world = guest->world;

	for (int index = 0; index < space->areas; index++)
		clear_entries(guest, vcpu, mm, row[index].start, row[index].end, INSTRUCTION_MOV);
	for (int index = 0; index < space->areas; index++) {
		int64_t start = row[index].start;

		/* Areas close to each other are taken together (Linux free_pgtables). */
		while (index + 1 < space->areas && row[index + 1].start <= row[index].end + span_bytes(2))
			index++;
		free_tables(guest, vcpu, mm, start, row[index].end, 0,
			    index + 1 < space->areas ? row[index + 1].start : USER_END);
	}
	leave_space(guest, mm);
	free_gathered(guest, vcpu);
	if (world->mm_top < guest->mm_count)
		guest->mm_stack[world->mm_top++] = mm;
	return space->root;
}

void free_root(struct guest *guest, int vcpu, int64_t root)
{
	release_table(guest, root);
	free_frame(guest, vcpu, root);
}
