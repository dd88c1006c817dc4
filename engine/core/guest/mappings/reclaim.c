/*
 * Find frames when memory runs short: written file pages first, then private pages, by a clock over the frames.
 * A private page that is taken away is lost to the process until it faults again; the time that swapping would cost is
 * not modelled. Assumption: a recording says nothing of memory pressure.
 */
#include "reclaim.h"

#include "guest/emit.h"
#include "guest/frames/allocator.h"
#include "guest/tables/flush.h"
#include "guest/tables/tables.h"

/* Pages that are taken away at once at most. */
#define RECLAIM_PAGES 256

/* Free the oldest written file page, if there is one. */
static bool drop_oldest_fill(struct guest *guest, int vcpu)
{
	struct world *world = guest->world;
	int64_t gfn;

	if (world->fills == 0)
		return false;
	gfn = guest->fills[(world->fill_head - world->fills) % guest->fill_room];
	world->fills--;
	free_frame(guest, vcpu, gfn);
	return true;
}

void fill_file_pages(struct guest *guest, int vcpu)
{
	struct world *world = guest->world;

	world->activity = ACTIVITY_KERNEL;
	for (int64_t left = guest->knobs->file_pages_per_exit; left > 0; left--) {
		int64_t gfn;

		while (world->fills >= world->fill_limit)
			drop_oldest_fill(guest, vcpu);
		gfn = allocate_frame(guest, vcpu, MIGRATE_MOVABLE, FRAME_FILE_FILL);
		if (gfn == 0)
			return;
		copy_frame(guest, vcpu, world->zero_gfn, gfn);
		guest->fills[world->fill_head % guest->fill_room] = gfn;
		world->fill_head++;
		world->fills++;
	}
}

/* Unmap and free a private page that only one address space maps (Linux try_to_unmap_one). */
static bool take_page_away(struct guest *guest, int vcpu, int64_t gfn)
{
	const struct guest_frame *frame = &guest->frames[gfn];
	struct mm *space;
	int64_t table, va;
	const uint64_t *entry;
	int mm;

	if (frame->kind != FRAME_ANONYMOUS || frame->references != 1)
		return false;
	/* The space may be gone, and its root be anything now: the child of a fork holds the page then. */
	mm = frame->owner;
	va = frame->va;
	space = &guest->mms[mm];
	entry = find_entry(guest, space->root, va);
	if (entry == NULL || !(*entry & PTE_PRESENT) || gfn_of(*entry) != gfn)
		return false;
	table = find_table(guest, space->root, va, 1);
	write_entry(guest, vcpu, table, index_of(va, 1), 0, INSTRUCTION_XCHG, live_flag(space));
	flush_page(guest, vcpu, mm, va);
	space->resident--;
	free_frame(guest, vcpu, gfn);
	guest->world->swapped++;
	return true;
}

void reclaim(struct guest *guest, int vcpu, int64_t wanted)
{
	struct world *world = guest->world;
	int64_t steps = 0;
	int taken = 0;

	world->activity = ACTIVITY_KERNEL;
	while (world->free_frames < wanted && taken < RECLAIM_PAGES && steps < world->pages) {
		steps++;
		if (drop_oldest_fill(guest, vcpu)) {
			taken++;
			continue;
		}
		world->hand = (world->hand + 1) % world->pages;
		if (take_page_away(guest, vcpu, world->hand))
			taken++;
	}
}
