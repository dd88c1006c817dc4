/* Numbers of 32 bits, one of each lane: lengths of lists, places in them. As many at a time as a register holds. */
#pragma once

#include "word.h"

enum { GROUP = PIECE / 4 };

typedef int32_t numbers_t[LANES];
typedef int32_t group_t __attribute__((vector_size(PIECE)));

/* The first lane of the group to which the lowest of 64 lanes belongs. */
INLINE int lowest_group(uint64_t lanes)
{
	return __builtin_ctzll(lanes) & (64 - GROUP);
}

/* For each group of lanes of which any is in a mask: its first lane, and which are, a bit each. */
#define FOR_EACH_GROUP(first, in, lanes) \
	for (struct words in##_of = words_of(lanes), *in##_all = &in##_of; in##_all; in##_all = NULL) \
		for (unsigned in##_words = used_words(lanes); in##_words; in##_words &= in##_words - 1) \
			for (uint64_t in##_rest = in##_all->words[lowest_word(in##_words)]; in##_rest; \
			     in##_rest &= ~((((uint64_t)1 << GROUP) - 1) << lowest_group(in##_rest))) \
				for (unsigned first = (unsigned)(lowest_word(in##_words) * 64 + lowest_group(in##_rest)), \
					      in = (unsigned)(in##_rest >> (first & 63)) & ((1U << GROUP) - 1); \
				     in; in = 0)

INLINE group_t load_group(const int32_t *numbers)
{
	group_t group;

	memcpy(&group, numbers, sizeof group);
	return group;
}

INLINE void store_group(int32_t *numbers, group_t group)
{
	memcpy(numbers, &group, sizeof group);
}

#if PIECE != 64
/* A bit for each of a group that is all ones; the others are 0. */
INLINE unsigned gather_group(group_t group)
{
#if defined(__SSE2__)
	return (unsigned)_mm_movemask_ps((__m128)group);
#else
	unsigned in = 0;

	for (int one = 0; one < GROUP; one++)
		in |= (unsigned)(group[one] & 1) << one;
	return in;
#endif
}
#endif

/* Where the first group is above the second, a bit each. */
INLINE unsigned where_above(group_t a, group_t b)
{
#if PIECE == 64
	return _mm512_cmpgt_epi32_mask((__m512i)a, (__m512i)b);
#else
	return gather_group(a > b);
#endif
}

/* Where they are equal. */
INLINE unsigned where_equal(group_t a, group_t b)
{
#if PIECE == 64
	return _mm512_cmpeq_epi32_mask((__m512i)a, (__m512i)b);
#else
	return gather_group(a == b);
#endif
}

/* The first group where it is in, else the second. */
INLINE group_t blend(unsigned in, group_t group, group_t other)
{
#if PIECE == 64
	return (group_t)_mm512_mask_mov_epi32((__m512i)other, (__mmask16)in, (__m512i)group);
#else
	const group_t own = {1, 2, 4, 8};
	group_t all = (((group_t){0} + (int32_t)in) & own) == own;

	return (group & all) | (other & ~all);
#endif
}

/* Add an amount in lanes. */
INLINE void add_numbers(numbers_t numbers, lanes_t lanes, int32_t amount)
{
	FOR_EACH_GROUP(first, in, lanes) {
		group_t now = load_group(&numbers[first]);

		store_group(&numbers[first], blend(in, now + amount, now));
	}
}

/* Have numbers, in lanes, be no less than others. */
INLINE void raise_numbers(numbers_t numbers, const numbers_t least, lanes_t lanes)
{
	FOR_EACH_GROUP(first, in, lanes) {
		group_t now = load_group(&numbers[first]), other = load_group(&least[first]);

		store_group(&numbers[first], blend(in & where_above(other, now), other, now));
	}
}

/* The lanes of a mask in which a number and some more are above a limit. */
INLINE lanes_t numbers_above(const numbers_t numbers, int32_t more, const numbers_t limits, lanes_t lanes)
{
	struct words found = {0};

	FOR_EACH_GROUP(first, in, lanes) {
		group_t sums = load_group(&numbers[first]) + more;

		add_bits(&found, (int)first, in & where_above(sums, load_group(&limits[first])));
	}
	return from_words(found);
}

/* The lanes of a mask in which a number has a value. */
INLINE lanes_t numbers_equal(const numbers_t numbers, int32_t value, lanes_t lanes)
{
	struct words found = {0};

	FOR_EACH_GROUP(first, in, lanes)
		add_bits(&found, (int)first, in & where_equal(load_group(&numbers[first]), (group_t){0} + value));
	return from_words(found);
}

/* The least number in the lanes of a mask, or `most` if that is less. */
INLINE int32_t least_number(const numbers_t numbers, int32_t most, lanes_t lanes)
{
	group_t least = (group_t){0} + most;

	FOR_EACH_GROUP(first, in, lanes) {
		group_t now = load_group(&numbers[first]);

		least = blend(in & where_above(least, now), now, least);
	}
	for (int one = 0; one < GROUP; one++)
		most = least[one] < most ? least[one] : most;
	return most;
}

/* Set numbers in lanes to others. */
INLINE void copy_numbers(numbers_t to, const numbers_t from, lanes_t lanes)
{
	FOR_EACH_GROUP(first, in, lanes)
		store_group(&to[first], blend(in, load_group(&from[first]), load_group(&to[first])));
}

INLINE void set_numbers(numbers_t to, int32_t number, lanes_t lanes)
{
	FOR_EACH_GROUP(first, in, lanes)
		store_group(&to[first], blend(in, (group_t){0} + number, load_group(&to[first])));
}

#if PIECE == 64
/* In each of the lanes, set a number in a row of its own, `which[lane]`. */
INLINE void scatter_numbers(numbers_t *rows, const numbers_t which, const numbers_t from, lanes_t lanes)
{
	const __m512i steps = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);

	FOR_EACH_GROUP(first, in, lanes) {
		__m512i row = _mm512_slli_epi32(_mm512_loadu_si512(&which[first]), LANE_BITS);

		_mm512_mask_i32scatter_epi32(&(*rows)[first], (__mmask16)in, _mm512_add_epi32(row, steps),
					     _mm512_loadu_si512(&from[first]), sizeof(int32_t));
	}
}
#endif

/*
 * Rings: each lane has a list of rows, and row 0 closes it. What is after it is the first, what is before it the last;
 * either is 0 itself where the list is empty.
 */
INLINE void enter_rings(numbers_t *before, numbers_t *after, int32_t row, lanes_t lanes)
{
#if PIECE == 64
	if (several(lanes)) {
		copy_numbers(before[row], before[0], lanes);
		set_numbers(after[row], 0, lanes);
		set_numbers(before[0], row, lanes);
		scatter_numbers(after, before[row], before[0], lanes);
		return;
	}
#endif
	FOR_EACH_LANE(lane, lanes) {
		int32_t last = before[0][lane];

		before[row][lane] = last;
		after[row][lane] = 0;
		after[last][lane] = row;
		before[0][lane] = row;
	}
}

INLINE void leave_rings(numbers_t *before, numbers_t *after, int32_t row, lanes_t lanes)
{
#if PIECE == 64
	if (several(lanes)) {
		scatter_numbers(after, before[row], after[row], lanes);
		scatter_numbers(before, after[row], before[row], lanes);
		return;
	}
#endif
	FOR_EACH_LANE(lane, lanes) {
		int32_t last = before[row][lane], next = after[row][lane];

		after[last][lane] = next;
		before[next][lane] = last;
	}
}
