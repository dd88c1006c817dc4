/* How many entries map a frame in each lane: a byte, or 16 bits for the few frames that many entries map. */
#pragma once

#include "state.h"

enum { LENGTH_WIDE = 255, LENGTH_NARROW_AGAIN = 128 };

INLINE bool is_wide(const struct machine *m, int64_t gfn)
{
	return m->lengths[gfn][0] == LENGTH_WIDE;
}

static __attribute__((noinline)) void widen(struct machine *m, int64_t gfn, bytes_t lengths)
{
	m->wide_lengths[gfn] = widened(lengths);
	m->lengths[gfn] = all_bytes(LENGTH_WIDE);
}

INLINE void lengthen(struct machine *m, int64_t gfn, lanes_t lanes)
{
	if (UNLIKELY(is_wide(m, gfn))) {
		m->wide_lengths[gfn] -= spread_words(lanes);
		return;
	}
	bytes_t longer = m->lengths[gfn] - spread(lanes);

	if (UNLIKELY(equal(longer, all_bytes(LENGTH_WIDE))))
		widen(m, gfn, longer);
	else
		m->lengths[gfn] = longer;
}

INLINE void shorten(struct machine *m, int64_t gfn, lanes_t lanes)
{
	if (LIKELY(!is_wide(m, gfn))) {
		m->lengths[gfn] += spread(lanes);
		return;
	}
	words_t shorter = m->wide_lengths[gfn] + spread_words(lanes);

	m->wide_lengths[gfn] = shorter;
	if (!greater_words(shorter, all_words(LENGTH_NARROW_AGAIN - 1)))
		m->lengths[gfn] = narrowed(shorter);
}

INLINE int length_of(const struct machine *m, int64_t gfn, int lane)
{
	return is_wide(m, gfn) ? m->wide_lengths[gfn][lane] : m->lengths[gfn][lane];
}

/* The lanes of a mask in which any entry maps a frame. */
INLINE lanes_t mapped_lanes(const struct machine *m, int64_t gfn, lanes_t lanes)
{
	if (UNLIKELY(is_wide(m, gfn)))
		return lanes & ~equal_words(m->wide_lengths[gfn], all_words(0));
	return lanes & ~equal(m->lengths[gfn], all_bytes(0));
}

/* The lanes of a mask in which so many entries map a frame. */
INLINE lanes_t lanes_of_length(const struct machine *m, int64_t gfn, int length, lanes_t lanes)
{
	if (UNLIKELY(is_wide(m, gfn)))
		return lanes & equal_words(m->wide_lengths[gfn], all_words((uint16_t)length));
	return lanes & equal(m->lengths[gfn], all_bytes((uint8_t)length));
}

/* The lanes of a mask in which more than `limit` entries map a frame; the limit is above what a byte holds. */
INLINE lanes_t lanes_longer(const struct machine *m, int64_t gfn, int limit, lanes_t lanes)
{
	if (LIKELY(!is_wide(m, gfn)))
		return 0;
	return lanes & greater_words(m->wide_lengths[gfn], all_words((uint16_t)limit));
}
