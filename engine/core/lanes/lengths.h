/* How many entries map a frame in each lane: a byte, or 16 bits for the few frames that many entries map. */
#pragma once

#include "state.h"

enum { LENGTH_WIDE = 255, LENGTH_NARROW_AGAIN = 128 };

INLINE bool is_wide(const struct machine *m, int64_t gfn)
{
	return m->lengths[gfn][0] == LENGTH_WIDE;
}

OUT_OF_LINE void widen(struct machine *m, int64_t gfn)
{
	widen_bytes(&m->wide_lengths[gfn], &m->lengths[gfn]);
	memset(&m->lengths[gfn], LENGTH_WIDE, sizeof m->lengths[gfn]);
}

INLINE void lengthen(struct machine *m, int64_t gfn, lanes_t lanes)
{
	if (UNLIKELY(is_wide(m, gfn))) {
		increment_words(&m->wide_lengths[gfn], lanes);
		return;
	}
	increment(&m->lengths[gfn], lanes);
	if (UNLIKELY(any(equal(&m->lengths[gfn], LENGTH_WIDE))))
		widen(m, gfn);
}

INLINE void shorten(struct machine *m, int64_t gfn, lanes_t lanes)
{
	if (LIKELY(!is_wide(m, gfn))) {
		decrement(&m->lengths[gfn], lanes);
		return;
	}
	decrement_words(&m->wide_lengths[gfn], lanes);
	if (!any(words_above_value(&m->wide_lengths[gfn], LENGTH_NARROW_AGAIN - 1)))
		narrow_words(&m->lengths[gfn], &m->wide_lengths[gfn]);
}

INLINE int length_of(const struct machine *m, int64_t gfn, int lane)
{
	return is_wide(m, gfn) ? m->wide_lengths[gfn][lane] : m->lengths[gfn][lane];
}

/* The lanes of a mask in which any entry maps a frame. */
INLINE lanes_t mapped_lanes(const struct machine *m, int64_t gfn, lanes_t lanes)
{
	if (UNLIKELY(is_wide(m, gfn)))
		return lanes & ~equal_words(&m->wide_lengths[gfn], 0);
	return lanes & ~equal(&m->lengths[gfn], 0);
}

/* The lanes of a mask in which so many entries map a frame. */
INLINE lanes_t lanes_of_length(const struct machine *m, int64_t gfn, int length, lanes_t lanes)
{
	if (UNLIKELY(is_wide(m, gfn)))
		return lanes & equal_words(&m->wide_lengths[gfn], (uint16_t)length);
	return lanes & equal(&m->lengths[gfn], (uint8_t)length);
}

/* The lanes of a mask in which more than `limit` entries map a frame; the limit is above what a byte holds. */
INLINE lanes_t lanes_longer(const struct machine *m, int64_t gfn, int limit, lanes_t lanes)
{
	if (LIKELY(!is_wide(m, gfn)))
		return NO_LANES;
	return lanes & words_above_value(&m->wide_lengths[gfn], (uint16_t)limit);
}
