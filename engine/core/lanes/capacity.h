/* How much of everything the lane machine has room for. */
#pragma once

#include "layout.h"

enum {
	NONE = -1,
	PARTS = ENTRIES / 64, /* words of a bitmap of entries */

	SLOTS = 1 << 15,
	TABLES = 1 << 15,
	FRAMES = 1 << 21, /* 8 GiB of guest memory */
	REGIONS = FRAMES / ENTRIES,
	VCPUS = 64,
	ODD_ENTRIES = 1 << 19,
	HASH_BUCKETS = 4096,
	WORK_ITEMS = 1 << 17,
	CACHED_ROOTS = 3,
};
