/* Entries and levels of the paging mode, as engine/x86.py declares it. */
#pragma once

#include <stdint.h>

#include "layout.h"

#define PTE_NO_EXECUTE (UINT64_C(1) << 63)
/* An address beyond these bits names a page, or the smallest large page. */
#define LARGE_SHIFT (PAGE_SHIFT + INDEX_BITS)
#define FRAME_MASK ((INT64_C(1) << FRAME_BITS) - 1)

/* The 4 KiB pages that one entry of a table of `level` translates. */
static inline int64_t span_pages(int level)
{
	return INT64_C(1) << INDEX_BITS * (level - 1);
}

/* The bits that tell the 4 KiB pages apart that one entry of a table of `level` translates. */
static inline int64_t span_mask(int level)
{
	return span_pages(level) - 1;
}

/* The bytes that one entry of a table of `level` translates. */
static inline int64_t span_bytes(int level)
{
	return span_pages(level) << PAGE_SHIFT;
}

/* The entry of a table of `level` that translates an address. */
static inline int index_of(uint64_t va, int level)
{
	return (int)(va >> (PAGE_SHIFT + INDEX_BITS * (level - 1)) & (ENTRIES - 1));
}

/* The frame that an entry names. */
static inline int64_t gfn_of(uint64_t entry)
{
	return (int64_t)(entry >> PAGE_SHIFT) & FRAME_MASK;
}
