/* The areas (VMAs) of an address space, kept sorted in one row of an array. */
#include "areas.h"

#include "x86.h"

#include <string.h>

#define INFERRED_SPAN (64 * PAGE_SIZE)

int first_area_after(const struct guest *guest, int mm, int64_t va)
{
	const struct area *row = guest->areas[mm];
	int low = 0, high = guest->mms[mm].areas;

	while (low < high) {
		int middle = (low + high) >> 1;

		if (row[middle].end <= va)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int find_area(struct guest *guest, int mm, int64_t va)
{
	struct mm *space = &guest->mms[mm];
	const struct area *row = guest->areas[mm];
	int index = space->last_area;

	if (index < space->areas && row[index].start <= va && va < row[index].end)
		return index;
	index = first_area_after(guest, mm, va);
	if (index == space->areas || row[index].start > va)
		return ABSENT;
	space->last_area = index;
	return index;
}

/* Shift the areas from an index on by one place up; the caller has seen that there is room. */
static void open_place(struct guest *guest, int mm, int index)
{
	struct area *row = guest->areas[mm];
	struct mm *space = &guest->mms[mm];

	memmove(row + index + 1, row + index, (size_t)(space->areas - index) * sizeof(*row));
	space->areas++;
}

void close_place(struct guest *guest, int mm, int index)
{
	struct area *row = guest->areas[mm];
	struct mm *space = &guest->mms[mm];

	memmove(row + index, row + index + 1, (size_t)(space->areas - index - 1) * sizeof(*row));
	space->areas--;
}

int insert_area(struct guest *guest, int mm, struct area area)
{
	struct area *row = guest->areas[mm];
	int index = first_area_after(guest, mm, area.start);
	bool full = guest->mms[mm].areas >= AREAS_MAX;

	if (full && index < AREAS_MAX && row[index].start < area.end) {
		/* There was no room to cut a hole for it: it stays a part of the area that is there. */
		return index;
	}
	if (index > 0) {
		struct area *before = &row[index - 1];
		bool alike = (before->flags & ~VM_PRIVATE_PAGES) == area.flags && !(area.flags & VM_FILE);

		if ((alike && before->end == area.start) || full) {
			before->end = area.end;
			return index - 1;
		}
	} else if (full) {
		row[0].start = area.start;
		return 0;
	}
	open_place(guest, mm, index);
	area.base = area.start;
	row[index] = area;
	return index;
}

void split_area(struct guest *guest, int mm, int64_t va)
{
	struct area *row = guest->areas[mm];
	int index = find_area(guest, mm, va);

	if (index == ABSENT || row[index].start == va || guest->mms[mm].areas >= AREAS_MAX)
		return;
	open_place(guest, mm, index);
	row[index].end = va;
	row[index + 1].start = va;
}

int32_t file_identity(int64_t comm, int64_t pages)
{
	return (int32_t)(((comm * 40503 + pages * 9973) ^ (pages >> 7)) & 0x7FFFFFFF);
}

int64_t cache_gfn(const struct guest *guest, int mm, int index, int64_t va)
{
	const struct world *world = guest->world;
	const struct area *area = &guest->areas[mm][index];
	int64_t start = (area->file * INT64_C(2654435761)) & INT64_C(0xFFFFFFFFFF);
	int64_t page;

	if (world->cache_frames == 0)
		return world->zero_gfn;
	page = (start + ((va - area->base) >> PAGE_SHIFT)) % world->cache_frames;
	/* An area that was joined may begin below its base. */
	return world->cache_base + (page < 0 ? page + world->cache_frames : page);
}

int infer_area(struct guest *guest, int mm, int64_t va, int64_t comm, bool fetch)
{
	struct area *row = guest->areas[mm];
	int64_t page = va & ~(PAGE_SIZE - 1);
	int next = first_area_after(guest, mm, va);
	int64_t floor = next > 0 ? row[next - 1].end : 0;
	int64_t ceiling = next < guest->mms[mm].areas ? row[next].start : USER_END;
	struct area area = {0};
	int index;

	if (va >= STACK_LOWEST && !fetch) {
		area.start = most(floor, page + PAGE_SIZE - STACK_SPAN);
		area.end = least(ceiling, page + 2 * PAGE_SIZE);
		area.flags = (VM_ANY & ~VM_EXEC) | VM_STACK;
		return insert_area(guest, mm, area);
	}
	area.start = most(floor, page & ~(INFERRED_SPAN - 1));
	area.end = least(ceiling, (page & ~(INFERRED_SPAN - 1)) + INFERRED_SPAN);
	area.flags = VM_ANY | VM_FILE | VM_INFERRED;
	area.file = file_identity(comm, 1);
	index = insert_area(guest, mm, area);
	row[index].base = page & ~(span_bytes(2) - 1);
	return index;
}
