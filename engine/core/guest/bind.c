/* From Python's arrays to the record that the guest model works on. */
#include "bind.h"

#include <stdlib.h>

#define SPILL_NAME "engine._core.spill"

/* One array: its name for errors, the size of what it holds, and where its address goes. In the order of `State`. */
struct array {
	const char *name;
	size_t item_bytes;
	size_t offset;
};

#define ARRAY(name, member) {name, sizeof(*((struct guest *)0)->member), offsetof(struct guest, member)}

enum place {
	FRAMES, TABLE_ENTRIES, SLOTS, MMS, MM_STACK, AREAS, RECENT_PAGES, CPUS, STAMPS, LISTS, LIST_STATE, FREE_HEADS,
	BLOCKS, PROCESSES, GATHER, FILLS, WORLD, KNOBS, OUT,
};

static const struct array ARRAYS[] = {
	[FRAMES] = ARRAY("frames", frames),
	[TABLE_ENTRIES] = ARRAY("entries", entries),
	[SLOTS] = ARRAY("slots", slots),
	[MMS] = ARRAY("mms", mms),
	[MM_STACK] = ARRAY("mm_stack", mm_stack),
	[AREAS] = ARRAY("areas", areas),
	[RECENT_PAGES] = ARRAY("recent", recent),
	[CPUS] = ARRAY("cpus", cpus),
	[STAMPS] = ARRAY("stamps", stamps),
	[LISTS] = ARRAY("lists", lists),
	[LIST_STATE] = ARRAY("list_state", list_state),
	[FREE_HEADS] = ARRAY("free_heads", free_heads),
	[BLOCKS] = ARRAY("blocks", blocks),
	[PROCESSES] = ARRAY("processes", processes),
	[GATHER] = ARRAY("gather", gather),
	[FILLS] = ARRAY("fills", fills),
	[WORLD] = ARRAY("globals", world),
	[KNOBS] = ARRAY("knobs", knobs),
	[OUT] = {"out", sizeof(struct event), offsetof(struct guest, out.rows)},
};

_Static_assert(sizeof(ARRAYS) / sizeof(ARRAYS[0]) == GUEST_ARRAYS, "one view for each array");

static void free_spill(PyObject *capsule)
{
	struct spill *spill = PyCapsule_GetPointer(capsule, SPILL_NAME);

	empty_spill(spill);
	free(spill);
}

PyObject *new_spill(PyObject *module, PyObject *arguments)
{
	struct spill *spill = calloc(1, sizeof(*spill));
	PyObject *capsule;

	(void)module;
	(void)arguments;
	if (spill == NULL)
		return PyErr_NoMemory();
	capsule = PyCapsule_New(spill, SPILL_NAME, free_spill);
	if (capsule == NULL)
		free(spill);
	return capsule;
}

struct spill *spill_of(PyObject *capsule)
{
	return PyCapsule_GetPointer(capsule, SPILL_NAME);
}

static int64_t length_of(const struct binding *binding, enum place place)
{
	return binding->views[place].len / (Py_ssize_t)ARRAYS[place].item_bytes;
}

static bool expect_length(const struct binding *binding, enum place place, int64_t length)
{
	if (length_of(binding, place) == length)
		return true;
	PyErr_Format(PyExc_ValueError, "guest model: array %s holds %lld records; expected %lld", ARRAYS[place].name,
		     (long long)length_of(binding, place), (long long)length);
	return false;
}

/* Tell whether a number of the state lies in a range; what points into an array must. */
static bool expect_range(const char *name, int64_t value, int64_t low, int64_t high)
{
	if (low <= value && value <= high)
		return true;
	PyErr_Format(PyExc_ValueError, "guest model: %s = %lld; allowed is %lld to %lld", name, (long long)value,
		     (long long)low, (long long)high);
	return false;
}

/* Look whether the arrays fit the size of the guest and each other. */
static bool sizes_fit(const struct binding *binding)
{
	const struct guest *guest = &binding->guest;
	const struct world *world = guest->world;
	int64_t vcpus = world->vcpus, pages = world->pages;

	return expect_range("vcpus", vcpus, 1, UINT8_MAX) && expect_range("pages", pages, 1, INT32_MAX) &&
	       expect_length(binding, FRAMES, pages) && expect_length(binding, TABLE_ENTRIES, guest->slot_count) &&
	       expect_length(binding, MM_STACK, guest->mm_count) && expect_length(binding, AREAS, guest->mm_count) &&
	       expect_length(binding, RECENT_PAGES, guest->mm_count) && expect_length(binding, CPUS, vcpus) &&
	       expect_length(binding, STAMPS, pages * vcpus) && expect_length(binding, LISTS, vcpus) &&
	       expect_length(binding, LIST_STATE, vcpus) && expect_length(binding, FREE_HEADS, 2) &&
	       expect_length(binding, BLOCKS, (pages >> BLOCK_ORDER) + 1) &&
	       expect_range("processes", guest->process_places & (guest->process_places - 1), 0, 0) &&
	       expect_range("places of processes", guest->process_places, 1, INT32_MAX) &&
	       expect_range("room to gather", guest->gather_room, pages, INT64_MAX) &&
	       expect_range("room of fills", guest->fill_room, world->fill_limit + 1, INT64_MAX);
}

/* Look whether what the state says of itself lies within the arrays. */
static bool places_fit(const struct guest *guest)
{
	const struct world *world = guest->world;
	int64_t pages = world->pages;

	return expect_range("count", world->count, 0, (int64_t)guest->out.capacity) &&
	       expect_range("mm_top", world->mm_top, 0, guest->mm_count) &&
	       expect_range("slot_top", world->slot_top, 0, guest->slot_count) &&
	       expect_range("gathered", world->gathered, 0, guest->gather_room) &&
	       expect_range("fill_limit", world->fill_limit, 1, pages) &&
	       expect_range("fills", world->fills, 0, world->fill_limit) &&
	       expect_range("fill_head", world->fill_head, world->fills, INT64_MAX) &&
	       expect_range("hand", world->hand, 0, pages - 1) &&
	       expect_range("window", world->window, 0, TIME_NS_MAX) &&
	       expect_range("window_ns", world->window_ns, 1, INT64_MAX) &&
	       expect_range("now", world->now, 0, TIME_NS_MAX) &&
	       expect_range("cache_base", world->cache_base, 1, pages) &&
	       expect_range("cache_frames", world->cache_frames, 0, pages - world->cache_base) &&
	       expect_range("kernel_base", world->kernel_base, KERNEL_TEXT_GFN + KERNEL_TEXT_REGIONS * REGION_PAGES,
			    pages) &&
	       expect_range("memmap_regions", world->memmap_regions, 1, pages >> BLOCK_ORDER) &&
	       expect_range("kernel_frames", world->kernel_frames, world->memmap_regions * REGION_PAGES + 1,
			    world->cache_base - world->kernel_base);
}

static bool take_arrays(struct binding *binding, PyObject *state)
{
	if (!PyTuple_Check(state) || PyTuple_Size(state) != GUEST_ARRAYS) {
		PyErr_SetString(PyExc_ValueError, "guest model: state is not the tuple of arrays that State is");
		return false;
	}
	while (binding->taken < GUEST_ARRAYS) {
		const struct array *array = &ARRAYS[binding->taken];
		Py_buffer *view = &binding->views[binding->taken];

		if (!take_buffer(PyTuple_GetItem(state, binding->taken), view, array->name,
				 (Py_ssize_t)array->item_bytes, true))
			return false;
		*(void **)((char *)&binding->guest + array->offset) = view->buf;
		binding->taken++;
	}
	return expect_length(binding, WORLD, 1) && expect_length(binding, KNOBS, 1);
}

bool bind_guest(struct binding *binding, PyObject *state, PyObject *capsule)
{
	struct guest *guest = &binding->guest;

	*binding = (struct binding){.taken = 0};
	guest->out.spill = spill_of(capsule);
	if (guest->out.spill == NULL)
		return false;
	if (take_arrays(binding, state)) {
		guest->slot_count = length_of(binding, SLOTS);
		guest->mm_count = length_of(binding, MMS);
		guest->process_places = length_of(binding, PROCESSES);
		guest->gather_room = length_of(binding, GATHER);
		guest->fill_room = length_of(binding, FILLS);
		guest->out.capacity = (size_t)length_of(binding, OUT);
		guest->out.row_bytes = sizeof(struct event);
		if (sizes_fit(binding) && places_fit(guest)) {
			guest->out.count = (size_t)guest->world->count;
			drain_spill(&guest->out);
			return true;
		}
	}
	while (binding->taken > 0)
		PyBuffer_Release(&binding->views[--binding->taken]);
	return false;
}

void unbind_guest(struct binding *binding)
{
	binding->guest.world->count = (int64_t)binding->guest.out.count;
	while (binding->taken > 0)
		PyBuffer_Release(&binding->views[--binding->taken]);
}
