/* Masks of a word of 512 lanes: a register of eight numbers of 64 lanes each. */
#pragma once

typedef uint64_t lanes_t __attribute__((vector_size(LANES / 8)));

/* Which of the numbers of a mask are not 0: a bit each. */
INLINE unsigned used_words(lanes_t lanes)
{
	return _mm512_test_epi64_mask((__m512i)lanes, (__m512i)lanes);
}

INLINE int lowest_word(unsigned used)
{
	return __builtin_ctz(used);
}

/* Whether a mask has any lane. */
INLINE bool any(lanes_t lanes)
{
	return used_words(lanes);
}

/* The first number of a mask that is not 0. */
INLINE uint64_t first_word(lanes_t lanes)
{
	__m512i words = _mm512_maskz_compress_epi64((__mmask8)used_words(lanes), (__m512i)lanes);

	return (uint64_t)_mm_cvtsi128_si64(_mm512_castsi512_si128(words));
}

/* Whether a mask has more than one lane; it has at least one. */
INLINE bool several(lanes_t lanes)
{
	unsigned used = used_words(lanes);
	uint64_t first = first_word(lanes);

	return (used & (used - 1)) || (first & (first - 1));
}

INLINE int lowest(lanes_t lanes)
{
	return lowest_word(used_words(lanes)) * 64 + __builtin_ctzll(first_word(lanes));
}

/* The mask of one lane. */
INLINE lanes_t bit(int lane)
{
	return (lanes_t)_mm512_maskz_set1_epi64((__mmask8)(1 << (lane >> 6)), (int64_t)((uint64_t)1 << (lane & 63)));
}

INLINE bool has(lanes_t lanes, int lane)
{
	return lanes[lane >> 6] >> (lane & 63) & 1;
}

/* Have a lane in a mask or not. */
INLINE void set_lane(lanes_t *lanes, int lane, bool is_in)
{
	lanes_t one = bit(lane);

	*lanes = is_in ? *lanes | one : *lanes & ~one;
}

/* For each lane of a mask, lowest first: number by number of those that are not 0. */
#define FOR_EACH_LANE(lane, lanes) \
	for (lanes_t lane##_all = (lanes), *lane##_of = &lane##_all; lane##_of; lane##_of = NULL) \
		for (unsigned lane##_words = used_words(lane##_all); lane##_words; lane##_words &= lane##_words - 1) \
			for (uint64_t lane##_rest = (*lane##_of)[lowest_word(lane##_words)]; lane##_rest; \
			     lane##_rest &= lane##_rest - 1) \
				for (int lane = lowest_word(lane##_words) * 64 + __builtin_ctzll(lane##_rest), lane##_once = 1; \
				     lane##_once; lane##_once = 0)
