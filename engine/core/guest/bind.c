/* From Python's arrays to the record that the guest model works on. */
#include "bind.h"

/* In the order of `State`. */
enum place {
	FRAMES,
	TABLE_ENTRIES,
	SLOTS,
	MMS,
	MM_STACK,
	AREAS,
	RECENT_PAGES,
	CPUS,
	STAMPS,
	LISTS,
	LIST_STATE,
	FREE_HEADS,
	BLOCKS,
	PROCESSES,
	GATHER,
	FILLS,
	WORLD,
	KNOBS,
	OUT,
	GUEST_ARRAYS,
};

static const struct array ARRAYS[GUEST_ARRAYS] = {
	[FRAMES] = ARRAY(struct guest, frames, true),
	[TABLE_ENTRIES] = ARRAY(struct guest, entries, true),
	[SLOTS] = ARRAY(struct guest, slots, true),
	[MMS] = ARRAY(struct guest, mms, true),
	[MM_STACK] = ARRAY(struct guest, mm_stack, true),
	[AREAS] = ARRAY(struct guest, areas, true),
	[RECENT_PAGES] = ARRAY(struct guest, recent, true),
	[CPUS] = ARRAY(struct guest, cpus, true),
	[STAMPS] = ARRAY(struct guest, stamps, true),
	[LISTS] = ARRAY(struct guest, lists, true),
	[LIST_STATE] = ARRAY(struct guest, list_state, true),
	[FREE_HEADS] = ARRAY(struct guest, free_heads, true),
	[BLOCKS] = ARRAY(struct guest, blocks, true),
	[PROCESSES] = ARRAY(struct guest, processes, true),
	[GATHER] = ARRAY(struct guest, gather, true),
	[FILLS] = ARRAY(struct guest, fills, true),
	[WORLD] = ARRAY(struct guest, world, true),
	[KNOBS] = ARRAY(struct guest, knobs, true),
	[OUT] = {"out", sizeof(struct event), offsetof(struct guest, out.rows), true},
};

_Static_assert(GUEST_ARRAYS <= ARRAYS_MAX, "a view for each array");

/* Look whether the arrays fit the size of the guest and each other. */
static bool sizes_fit(const struct arrays *arrays, const struct guest *guest)
{
	const struct world *world = guest->world;
	int64_t vcpus = world->vcpus, pages = world->pages, places = guest->process_places;

	return expect_range(arrays, "vcpus", vcpus, 1, UINT8_MAX) &&
	       expect_range(arrays, "pages", pages, 1, INT32_MAX) && expect_length(arrays, FRAMES, pages) &&
	       expect_length(arrays, TABLE_ENTRIES, guest->slot_count) &&
	       expect_length(arrays, MM_STACK, guest->mm_count) && expect_length(arrays, AREAS, guest->mm_count) &&
	       expect_length(arrays, RECENT_PAGES, guest->mm_count) && expect_length(arrays, CPUS, vcpus) &&
	       expect_length(arrays, STAMPS, pages * vcpus) && expect_length(arrays, LISTS, vcpus) &&
	       expect_length(arrays, LIST_STATE, vcpus) && expect_length(arrays, FREE_HEADS, 2) &&
	       expect_length(arrays, BLOCKS, (pages >> BLOCK_ORDER) + 1) &&
	       expect_range(arrays, "places of processes", places, 1, INT32_MAX) &&
	       expect_range(arrays, "places of processes beyond a power of two", places & (places - 1), 0, 0) &&
	       expect_range(arrays, "room to gather", guest->gather_room, pages, INT64_MAX) &&
	       expect_range(arrays, "room of fills", guest->fill_room, world->fill_limit + 1, INT64_MAX);
}

/* Look whether what the state says of itself lies within the arrays. */
static bool places_fit(const struct arrays *arrays, const struct guest *guest)
{
	const struct world *world = guest->world;
	int64_t pages = world->pages, kernel_end = KERNEL_TEXT_GFN + KERNEL_TEXT_REGIONS * REGION_PAGES;

	return expect_range(arrays, "count", world->count, 0, (int64_t)guest->out.capacity) &&
	       expect_range(arrays, "mm_top", world->mm_top, 0, guest->mm_count) &&
	       expect_range(arrays, "slot_top", world->slot_top, 0, guest->slot_count) &&
	       expect_range(arrays, "gathered", world->gathered, 0, guest->gather_room) &&
	       expect_range(arrays, "fill_limit", world->fill_limit, 1, pages) &&
	       expect_range(arrays, "fills", world->fills, 0, world->fill_limit) &&
	       expect_range(arrays, "fill_head", world->fill_head, world->fills, INT64_MAX) &&
	       expect_range(arrays, "hand", world->hand, 0, pages - 1) &&
	       expect_range(arrays, "window", world->window, 0, TIME_NS_MAX) &&
	       expect_range(arrays, "window_ns", world->window_ns, 1, INT64_MAX) &&
	       expect_range(arrays, "now", world->now, 0, TIME_NS_MAX) &&
	       expect_range(arrays, "cache_base", world->cache_base, 1, pages) &&
	       expect_range(arrays, "cache_frames", world->cache_frames, 0, pages - world->cache_base) &&
	       expect_range(arrays, "kernel_base", world->kernel_base, kernel_end, pages) &&
	       expect_range(arrays, "memmap_regions", world->memmap_regions, 1, pages >> BLOCK_ORDER) &&
	       expect_range(arrays, "kernel_frames", world->kernel_frames, world->memmap_regions * REGION_PAGES + 1,
			    world->cache_base - world->kernel_base);
}

bool bind_guest(struct guest *guest, struct arrays *arrays, PyObject *state, PyObject *capsule)
{
	*guest = (struct guest){.out = {.row_bytes = sizeof(struct event), .spill = spill_of(capsule)}};
	*arrays = (struct arrays){.owner = "guest model", .list = ARRAYS, .count = GUEST_ARRAYS};
	if (guest->out.spill == NULL || !take_arrays(arrays, state, guest))
		return false;
	guest->slot_count = array_length(arrays, SLOTS);
	guest->mm_count = array_length(arrays, MMS);
	guest->process_places = array_length(arrays, PROCESSES);
	guest->gather_room = array_length(arrays, GATHER);
	guest->fill_room = array_length(arrays, FILLS);
	guest->out.capacity = (size_t)array_length(arrays, OUT);
	if (!expect_length(arrays, WORLD, 1) || !expect_length(arrays, KNOBS, 1) || !sizes_fit(arrays, guest) ||
	    !places_fit(arrays, guest)) {
		release_arrays(arrays);
		return false;
	}
	guest->out.count = (size_t)guest->world->count;
	drain_spill(&guest->out);
	return true;
}

void unbind_guest(struct guest *guest, struct arrays *arrays)
{
	guest->world->count = (int64_t)guest->out.count;
	release_arrays(arrays);
}
