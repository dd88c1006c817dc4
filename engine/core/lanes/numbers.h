/*
 * Numbers of 32 bits, one of each lane: lengths of lists, places in them. Sixteen at a time where the CPU has registers
 * for that, else one by one.
 */
#pragma once

#include "word.h"

typedef int32_t numbers_t[LANES];

#ifdef __AVX512F__
/* The sixteen lanes of a number of 64 to which its lowest belongs: the first of these. */
INLINE int lowest_sixteen(uint64_t lanes)
{
	return __builtin_ctzll(lanes) & 48;
}

/* For sixteen lanes at a time of which any is in a mask: the first, and which, a bit each. */
#define FOR_EACH_SIXTEEN(first, in, lanes) \
	for (struct words in##_of = words_of(lanes), *in##_all = &in##_of; in##_all; in##_all = NULL) \
		for (unsigned in##_words = used_words(lanes); in##_words; in##_words &= in##_words - 1) \
			for (uint64_t in##_rest = in##_all->words[lowest_word(in##_words)]; in##_rest; \
			     in##_rest &= ~((uint64_t)65535 << lowest_sixteen(in##_rest))) \
				for (int first = lowest_word(in##_words) * 64 + lowest_sixteen(in##_rest), \
					 in = (int)(in##_rest >> first % 64 & 65535); in; in = 0)
#endif

/* Add an amount, modulo 2^32, in lanes. */
INLINE void add_counts(counts_t counts, lanes_t lanes, uint32_t amount)
{
#ifdef __AVX512F__
	FOR_EACH_SIXTEEN(first, in, lanes) {
		__m512i now = _mm512_loadu_si512(&counts[first]), more = _mm512_set1_epi32((int)amount);

		_mm512_storeu_si512(&counts[first], _mm512_mask_add_epi32(now, (__mmask16)in, now, more));
	}
#else
	FOR_EACH_LANE(lane, lanes)
		counts[lane] += amount;
#endif
}

/* Have counts, in lanes, be no less than others. */
INLINE void raise_counts(counts_t counts, const counts_t least, lanes_t lanes)
{
#ifdef __AVX512F__
	FOR_EACH_SIXTEEN(first, in, lanes) {
		__m512i now = _mm512_loadu_si512(&counts[first]), other = _mm512_loadu_si512(&least[first]);

		_mm512_storeu_si512(&counts[first], _mm512_mask_max_epu32(now, (__mmask16)in, now, other));
	}
#else
	FOR_EACH_LANE(lane, lanes)
		if (counts[lane] < least[lane])
			counts[lane] = least[lane];
#endif
}

/* The lanes of a mask in which a count and some more are above a limit. */
INLINE lanes_t counts_above(const counts_t counts, uint32_t more, const counts_t limits, lanes_t lanes)
{
#ifdef __AVX512F__
	struct words found = {0};

	FOR_EACH_SIXTEEN(first, in, lanes) {
		__m512i sum = _mm512_add_epi32(_mm512_loadu_si512(&counts[first]), _mm512_set1_epi32((int)more));
		__m512i limit = _mm512_loadu_si512(&limits[first]);

		found.words[first / 64] |= (uint64_t)_mm512_mask_cmpgt_epu32_mask((__mmask16)in, sum, limit) << first % 64;
	}
	return from_words(found);
#else
	lanes_t found = NO_LANES;

	FOR_EACH_LANE(lane, lanes)
		if (counts[lane] + more > limits[lane])
			found |= bit(lane);
	return found;
#endif
}

/* The lanes of a mask in which a number has a value. */
INLINE lanes_t numbers_equal(const numbers_t numbers, int32_t value, lanes_t lanes)
{
#ifdef __AVX512F__
	struct words found = {0};

	FOR_EACH_SIXTEEN(first, in, lanes) {
		__m512i now = _mm512_loadu_si512(&numbers[first]);

		found.words[first / 64] |= (uint64_t)_mm512_mask_cmpeq_epi32_mask((__mmask16)in, now, _mm512_set1_epi32(value)) << first % 64;
	}
	return from_words(found);
#else
	lanes_t found = NO_LANES;

	FOR_EACH_LANE(lane, lanes)
		if (numbers[lane] == value)
			found |= bit(lane);
	return found;
#endif
}

/* Signed and unsigned, what is equal is equal. */
INLINE lanes_t counts_equal(const counts_t counts, uint32_t value, lanes_t lanes)
{
	return numbers_equal((const int32_t *)counts, (int32_t)value, lanes);
}

/* The least count in the lanes of a mask, or `most` if that is less. */
INLINE uint32_t least_count(const counts_t counts, uint32_t most, lanes_t lanes)
{
#ifdef __AVX512F__
	__m512i least = _mm512_set1_epi32((int)most);

	FOR_EACH_SIXTEEN(first, in, lanes)
		least = _mm512_mask_min_epu32(least, (__mmask16)in, least, _mm512_loadu_si512(&counts[first]));
	return _mm512_reduce_min_epu32(least);
#else
	FOR_EACH_LANE(lane, lanes)
		if (counts[lane] < most)
			most = counts[lane];
	return most;
#endif
}

/* Set numbers in lanes to those of another row. */
INLINE void copy_numbers(numbers_t to, const numbers_t from, lanes_t lanes)
{
#ifdef __AVX512F__
	FOR_EACH_SIXTEEN(first, in, lanes)
		_mm512_mask_storeu_epi32(&to[first], (__mmask16)in, _mm512_loadu_si512(&from[first]));
#else
	FOR_EACH_LANE(lane, lanes)
		to[lane] = from[lane];
#endif
}

INLINE void set_numbers(numbers_t to, int32_t number, lanes_t lanes)
{
#ifdef __AVX512F__
	FOR_EACH_SIXTEEN(first, in, lanes)
		_mm512_mask_storeu_epi32(&to[first], (__mmask16)in, _mm512_set1_epi32(number));
#else
	FOR_EACH_LANE(lane, lanes)
		to[lane] = number;
#endif
}

/* In each of the lanes, set a number in a row of its own, `which[lane]`. */
INLINE void scatter_numbers(numbers_t *rows, const numbers_t which, const numbers_t from, lanes_t lanes)
{
#ifdef __AVX512F__
	const __m512i steps = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);

	FOR_EACH_SIXTEEN(first, in, lanes) {
		__m512i row = _mm512_slli_epi32(_mm512_loadu_si512(&which[first]), LANE_BITS);

		_mm512_mask_i32scatter_epi32(&(*rows)[first], (__mmask16)in, _mm512_add_epi32(row, steps),
					     _mm512_loadu_si512(&from[first]), sizeof(int32_t));
	}
#else
	FOR_EACH_LANE(lane, lanes)
		rows[which[lane]][lane] = from[lane];
#endif
}
