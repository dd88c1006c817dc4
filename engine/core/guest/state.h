/*
 * All state of one guest as one record: pointers into arrays that Python owns (engine/guest/state.py says what each
 * holds), with their lengths. Indices are frame numbers (gfn), table slots, address spaces (mm) and vCPUs.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"
#include "rows.h"

struct frame_list {
	int64_t bottom;
	int64_t count;
};

struct guest {
	struct world *world;
	const struct guest_knobs *knobs;
	/* [gfn] what the frame holds, and its place in a free list. */
	struct guest_frame *frames;
	/* [slot][index] contents of the frames that are tables. */
	uint64_t (*entries)[ENTRIES];
	/* Stack of free table slots, world->slot_top high. */
	int32_t *slots;
	int64_t slot_count;
	struct mm *mms;
	/* Stack of free address spaces, world->mm_top high. */
	int32_t *mm_stack;
	int64_t mm_count;
	/* [mm][i] the VMAs of an address space by rising address. */
	struct area (*areas)[AREAS_MAX];
	/* [mm][i] ring of the user pages faulted last. */
	int64_t (*recent)[RECENT];
	struct cpu *cpus;
	/* [gfn * vcpus + vcpu] generation * 4 + (1 seen, 2 seen writing). */
	int64_t *stamps;
	/* [vcpu][migrate type][i] ring of free frames. */
	int32_t (*lists)[2][LIST_ROOM];
	struct frame_list (*list_state)[2];
	/* [migrate type][order] first free block, or ABSENT. */
	int32_t (*free_heads)[ORDERS];
	/* [gfn >> BLOCK_ORDER] migrate type of the pageblock. */
	uint8_t *blocks;
	/* Open-addressing table by pid; mm ABSENT is a kernel thread, pid ABSENT a free place. */
	struct process *processes;
	int64_t process_places;
	/* Frames that wait for a flush before they are freed. */
	int64_t *gather;
	int64_t gather_room;
	/* Ring of the frames that file writes filled. */
	int64_t *fills;
	int64_t fill_room;
	struct rows out;
};

static inline int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static inline int64_t most(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static inline int64_t *stamps_of(const struct guest *guest, int64_t gfn)
{
	return guest->stamps + gfn * guest->world->vcpus;
}

static inline int live_flag(const struct mm *space)
{
	return space->live ? ACCESS_LIVE : 0;
}
