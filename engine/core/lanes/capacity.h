/*
 * How much of everything the lane machine has room for. It is address space: what is not used takes no memory, so that
 * in practice memory is the limit. Numbers begin at 1 and 0 is none, so that a machine of zeros is an empty one.
 */
#pragma once

#include "layout.h"
#include "word.h"

enum {
	NONE = 0,    /* no slot, entry, table of contents or odd entry */
	NO_GFN = -1, /* 0 is a frame */
	PARTS = ENTRIES / 64, /* words of a bitmap of entries */

	SLOTS = 1 << 20,  /* 40 GiB, if all entries are used; eight times that with 512 lanes */
	TABLES = 1 << 21, /* 8 GiB */
	FRAMES = 1 << 28, /* 1 TiB of guest memory */
	VCPUS = 64,
	ODD_ENTRIES = LANES << 13,
	HASH_BUCKETS = 4096,
	PLACE_BITS = 22,
	WORK_ITEMS = 1 << PLACE_BITS,
	CACHED_ROOTS = 3,
};
