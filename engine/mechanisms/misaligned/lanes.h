/* Zap a shadow page when a store to it has a size or a place that no page-table write has, in lanes. */
#pragma once

#include "lanes/pte_write.h"

INLINE bool misaligned_is_used(const struct knobs *knobs)
{
	return knobs->misaligned != MISALIGNED_NEVER;
}

/* The lanes whose rule a store of `width` bytes at `offset` of the page violates. */
INLINE lanes_t misaligned_lanes(const struct machine *m, int offset, int width)
{
	const lanes_t *rule = m->knobs.misaligned.misaligned;
	bool low_byte = width == 1 && offset % ENTRY_BYTES == 0;
	bool crosses = offset / ENTRY_BYTES != (offset + width - 1) / ENTRY_BYTES;
	lanes_t lanes = NO_LANES;

	if (crosses || width < 4) {
		lanes |= rule[MISALIGNED_BEFORE_2011];
		if (!low_byte)
			lanes |= rule[MISALIGNED_LOW_BYTE_ALLOWED];
	}
	if (width < ENTRY_BYTES)
		lanes |= rule[MISALIGNED_UNDER_8_BYTES];
	return lanes;
}

INLINE lanes_t misaligned_gives_up(struct machine *m, int32_t slot, const struct written *written, lanes_t lanes)
{
	lanes_t bad = lanes & misaligned_lanes(m, written->offset, written->width);

	count(m, COUNTER_MISALIGNED_ZAPS, bad);
	count(m, COUNTER_MMU_FLOODED, bad);
	(void)slot;
	return bad;
}

/* Iterations of one width are as misaligned as the first, or as the one after it. */
INLINE lanes_t misaligned_watches(struct machine *m, const struct iterations *next, lanes_t lanes)
{
	lanes_t bad = misaligned_lanes(m, next->offset, next->width) | misaligned_lanes(m, next->offset + 1, next->width);

	return lanes & next->shadowed & bad;
}
