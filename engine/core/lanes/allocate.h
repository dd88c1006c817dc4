/* Make the state of lanes before the first event. */
#pragma once

#include <sys/mman.h>

#include "guess.h"
#include "mechanism_hooks.h"
#include "pages.h"
#include "state.h"

INLINE void set_number_knobs(struct knob_lanes *lanes, const struct knobs *knobs, int lane)
{
	lanes->desc_minimum[lane] = (uint8_t)knobs->desc_minimum;
	lanes->pool[lane] = (int32_t)(knobs->pool_pages < POOL_MAX ? knobs->pool_pages : POOL_MAX);
	lanes->rep_limit[lane] = (int32_t)knobs->rep_limit;
	for (int place = 0; place < CACHED_ROOTS; place++)
		lanes->caches[place] |= lanes_if(place < knobs->cached_roots, bit(lane));
	int group = 0;

	while (lanes->desc_entries[group] && lanes->desc_entries[group] != knobs->desc_entries)
		group++;
	lanes->desc_entries[group] = (int32_t)knobs->desc_entries;
	lanes->desc_lanes[group] |= bit(lane);
}

static void set_knobs(struct knob_lanes *lanes, const struct knobs *knobs, int lane)
{
#define SWITCH(name, condition) lanes->name |= lanes_if(condition, bit(lane))
	SWITCH(all, true);
	SWITCH(shadow, knobs->shadow);
	SWITCH(oracle, knobs->oracle);
	SWITCH(update, knobs->update_written_spte);
	SWITCH(prefetch, knobs->prefetch);
	SWITCH(prefetch_stops, knobs->prefetch_stops_at_gap);
	SWITCH(sync_zaps_empty, knobs->sync_zaps_empty);
	SWITCH(create_zaps_unsync, knobs->upper_create_zaps_unsync);
	SWITCH(shortcut, knobs->write_tracked_shortcut);
	SWITCH(recycle_skips_roots, knobs->recycle_skips_roots);
	SWITCH(recycle_in_write, knobs->recycle_in_pte_write);
	SWITCH(large_drop, knobs->large_drop_on_protect);
	SWITCH(host_large, knobs->host_large_pages);
	SWITCH(invlpg_3_0, knobs->invlpg == INVLPG_KVM_3_0);
	SWITCH(invlpg_6_1, knobs->invlpg == INVLPG_KVM_6_1);
	SWITCH(topup_in_write, knobs->desc_topup_in_pte_write);
	SWITCH(hash_64, knobs->hash == HASH_HASH_64_12_BITS);
#undef SWITCH
	set_number_knobs(lanes, knobs, lane);
	set_mechanism_knobs(lanes, knobs, lane);
}

/* What is not 0 at the start. */
static void set_first(struct machine *m)
{
	m->slots_made = m->tables_made = m->odd_made = 1;
	for (int which = 0; which < m->vcpus_used; which++)
		m->vcpus[which].cr3 = m->vcpus[which].store_gfn = NO_GFN;
}

/* Memory full of zeros that costs nothing until it is touched. */
static void *reserve(size_t bytes)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);

	if (memory == MAP_FAILED)
		return NULL;
	/* Fewer misses of the host's TLB; a system that has no large pages goes without. */
	(void)madvise(memory, bytes, MADV_HUGEPAGE);
	return memory;
}

static void release(void *memory, size_t bytes)
{
	if (memory)
		munmap(memory, bytes);
}

static size_t regions_of(int64_t pages)
{
	return (size_t)(pages + ENTRIES - 1) / ENTRIES;
}

/* Arrays with an element for each frame or region of the guest; false if the system gives no more memory. */
static bool reserve_frames(struct machine *m)
{
	m->frames = reserve((size_t)m->pages * sizeof *m->frames);
	m->lengths = reserve((size_t)m->pages * sizeof *m->lengths);
	m->wide_lengths = reserve((size_t)m->pages * sizeof *m->wide_lengths);
	m->regions = reserve(regions_of(m->pages) * sizeof *m->regions);
	return m->frames && m->lengths && m->wide_lengths && m->regions;
}

static void destroy_machine(struct machine *m)
{
	if (!m)
		return;
	release(m->guesses, GUESSES * sizeof *m->guesses);
	release(m->frames, (size_t)m->pages * sizeof *m->frames);
	release(m->lengths, (size_t)m->pages * sizeof *m->lengths);
	release(m->wide_lengths, (size_t)m->pages * sizeof *m->wide_lengths);
	release(m->regions, regions_of(m->pages) * sizeof *m->regions);
	destroy_machine(m->beside);
	munmap(m, sizeof *m);
}

/* A machine that takes the slow path only. */
static struct machine *create_plain(const struct knobs *knobs, int lanes, int64_t pages, int vcpus)
{
	struct machine *m = reserve(sizeof *m);

	if (!m)
		return NULL;
	m->pages = pages;
	m->vcpus_used = vcpus;
	m->limits = (struct event_limits){.memory = (uint64_t)pages * PAGE_SIZE, .vcpus = vcpus};
	if (!reserve_frames(m)) {
		destroy_machine(m);
		return NULL;
	}
	for (int lane = 0; lane < lanes; lane++)
		set_knobs(&m->knobs, &knobs[lane], lane);
	set_first(m);
	for (int which = 0; which < vcpus; which++)
		m->vcpus[which].low_desc = m->knobs.all;
	for (int activity = 0; activity < ACTIVITIES; activity++)
		m->tallies[activity].hash_room = HASH_ROOM;
	m->now = &m->tallies[ACTIVITY_NONE];
	pools_changed(m, m->knobs.all);
	return m;
}

static struct machine *create_machine(const struct knobs *knobs, int lanes, int64_t pages, int vcpus)
{
	struct machine *m = create_plain(knobs, lanes, pages, vcpus);

	if (!m)
		return NULL;
	/* Without any lane that shadows there is no way to guess. */
	if (any(m->knobs.shadow))
		m->guesses = reserve(GUESSES * sizeof *m->guesses);
#ifdef CHECK_FAST_PATHS
	m->beside = create_plain(knobs, lanes, pages, vcpus);
	if (!m->beside) {
		destroy_machine(m);
		return NULL;
	}
#endif
	return m;
}
