/*
 * Lane masks and numbers of lanes: 64 policies side by side, one bit of a word each, or one byte of a vector each.
 *
 * A mask says in which lanes something holds. Small numbers that differ between lanes are byte lanes: adding one in any
 * set of lanes is one vector addition, whatever the set. All of this is exact integer arithmetic, so that every
 * instruction set gives the same results.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#ifdef __AVX512BW__
#include <immintrin.h>
#endif

#define LANES 64

typedef uint64_t lanes_t;
typedef uint8_t bytes_t __attribute__((vector_size(LANES)));
typedef int8_t signed_bytes_t __attribute__((vector_size(LANES)));
typedef uint16_t words_t __attribute__((vector_size(2 * LANES)));
typedef int16_t signed_words_t __attribute__((vector_size(2 * LANES)));

#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define INLINE static inline __attribute__((always_inline))
/* What the event loop calls now and then stays out of it, so that its own values stay in registers. */
#define OUT_OF_LINE static __attribute__((noinline))

INLINE int lowest(lanes_t lanes)
{
	return __builtin_ctzll(lanes);
}

INLINE lanes_t bit(int lane)
{
	return (lanes_t)1 << lane;
}

/* For each lane of a mask, lowest first. */
#define FOR_EACH_LANE(lane, lanes) \
	for (lanes_t lane##_rest = (lanes); lane##_rest; lane##_rest &= lane##_rest - 1) \
		for (int lane = lowest(lane##_rest), lane##_once = 1; lane##_once; lane##_once = 0)

/* The byte lanes that hold 255 in the lanes of a mask and 0 elsewhere. */
INLINE bytes_t spread(lanes_t lanes)
{
#ifdef __AVX512BW__
	return (bytes_t)_mm512_movm_epi8(lanes);
#else
	/* Bring each byte of the mask to its eight lanes, then leave the lane's own bit. */
	bytes_t bits, own;
	uint64_t copies[8];

	for (int part = 0; part < 8; part++)
		copies[part] = ((lanes >> 8 * part) & 255) * UINT64_C(0x0101010101010101);
	memcpy(&bits, copies, sizeof bits);
	for (int part = 0; part < 8; part++)
		copies[part] = UINT64_C(0x8040201008040201);
	memcpy(&own, copies, sizeof own);
	return (bytes_t)((bits & own) == own);
#endif
}

/* The mask of the lanes whose byte is 255, of byte lanes that hold 0 or 255. */
INLINE lanes_t gather(bytes_t bytes)
{
#ifdef __AVX512BW__
	return _mm512_movepi8_mask((__m512i)bytes);
#else
	uint64_t parts[8];
	lanes_t lanes = 0;

	memcpy(parts, &bytes, sizeof parts);
	for (int part = 0; part < 8; part++) {
		/* Each byte keeps its own bit; the product brings the sum of all eight, no two of them alike, to the top. */
		uint64_t own = parts[part] & UINT64_C(0x8040201008040201);

		lanes |= (own * UINT64_C(0x0101010101010101) >> 56) << 8 * part;
	}
	return lanes;
#endif
}

INLINE bytes_t all_bytes(uint8_t value)
{
	bytes_t bytes;

	memset(&bytes, value, sizeof bytes);
	return bytes;
}

/* `spread` for numbers of 16 bits. */
INLINE words_t spread_words(lanes_t lanes)
{
#ifdef __AVX512BW__
	__m512i halves[2] = {_mm512_movm_epi16((__mmask32)lanes), _mm512_movm_epi16((__mmask32)(lanes >> 32))};
	words_t words;

	memcpy(&words, halves, sizeof words);
	return words;
#else
	return (words_t)__builtin_convertvector((signed_bytes_t)spread(lanes), signed_words_t);
#endif
}

/* `gather` for numbers of 16 bits. */
INLINE lanes_t gather_words(words_t words)
{
#ifdef __AVX512BW__
	__m512i halves[2];

	memcpy(halves, &words, sizeof halves);
	return _mm512_movepi16_mask(halves[0]) | (lanes_t)_mm512_movepi16_mask(halves[1]) << 32;
#else
	uint64_t parts[16];
	lanes_t lanes = 0;

	memcpy(parts, &words, sizeof parts);
	for (int part = 0; part < 16; part++) {
		uint64_t own = parts[part] & UINT64_C(0x0008000400020001);

		lanes |= (own * UINT64_C(0x0001000100010001) >> 48) << 4 * part;
	}
	return lanes;
#endif
}
