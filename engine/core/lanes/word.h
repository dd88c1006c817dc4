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

#ifdef __SSE2__
#include <immintrin.h>
#endif

#define LANES 64

typedef uint64_t lanes_t;
typedef uint8_t bytes_t __attribute__((vector_size(LANES)));
typedef uint16_t words_t __attribute__((vector_size(2 * LANES)));

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

/*
 * Compilers split sums of vectors that are wider than the registers, but take comparisons, conversions and shuffles of
 * such vectors apart into single numbers. Those are therefore spelled out here in pieces that fill one register.
 */
#if defined(__AVX512BW__)
enum { PIECE = 64 };
#elif defined(__AVX2__)
enum { PIECE = 32 };
#else
enum { PIECE = 16 };
#endif
enum { PIECES = LANES / PIECE, WORD_PIECES = 2 * PIECES, WORDS = PIECE / 2 };

typedef uint8_t piece_t __attribute__((vector_size(PIECE)));
typedef uint16_t word_piece_t __attribute__((vector_size(PIECE)));

INLINE piece_t piece_of(const bytes_t *bytes, int part)
{
	piece_t piece;

	memcpy(&piece, (const char *)bytes + part * PIECE, sizeof piece);
	return piece;
}

INLINE word_piece_t word_piece_of(const words_t *words, int part)
{
	word_piece_t piece;

	memcpy(&piece, (const char *)words + part * PIECE, sizeof piece);
	return piece;
}

/* The mask of the lanes of a piece whose byte is 255, where all are 0 or 255. */
INLINE lanes_t gather_piece(piece_t piece)
{
#if defined(__AVX512BW__)
	return _mm512_movepi8_mask((__m512i)piece);
#elif defined(__AVX2__)
	return (uint32_t)_mm256_movemask_epi8((__m256i)piece);
#elif defined(__SSE2__)
	return (uint32_t)_mm_movemask_epi8((__m128i)piece);
#else
	uint64_t parts[PIECE / 8];
	lanes_t lanes = 0;

	memcpy(parts, &piece, sizeof parts);
	for (int part = 0; part < PIECE / 8; part++) {
		/* Each byte keeps its own bit; the product brings the sum of all eight, no two of them alike, to the top. */
		uint64_t own = parts[part] & UINT64_C(0x8040201008040201);

		lanes |= (own * UINT64_C(0x0101010101010101) >> 56) << 8 * part;
	}
	return lanes;
#endif
}

/* The same for numbers of 16 bits that are 0 or 65535. */
INLINE lanes_t gather_word_piece(word_piece_t piece)
{
#if defined(__AVX512BW__)
	return _mm512_movepi16_mask((__m512i)piece);
#elif defined(__AVX2__)
	__m256i bytes = _mm256_packs_epi16((__m256i)piece, _mm256_setzero_si256());
	uint32_t mask = (uint32_t)_mm256_movemask_epi8(bytes);

	return (mask & 255) | (mask >> 8 & 65280);
#elif defined(__SSE2__)
	return (uint32_t)_mm_movemask_epi8(_mm_packs_epi16((__m128i)piece, _mm_setzero_si128()));
#else
	uint64_t parts[PIECE / 8];
	lanes_t lanes = 0;

	memcpy(parts, &piece, sizeof parts);
	for (int part = 0; part < PIECE / 8; part++) {
		uint64_t own = parts[part] & UINT64_C(0x0008000400020001);

		lanes |= (own * UINT64_C(0x0001000100010001) >> 48) << 4 * part;
	}
	return lanes;
#endif
}

/* The byte lanes that hold 255 in the lanes of a mask and 0 elsewhere. */
INLINE bytes_t spread(lanes_t lanes)
{
#ifdef __AVX512BW__
	return (bytes_t)_mm512_movm_epi8(lanes);
#else
	typedef uint64_t quads_t __attribute__((vector_size(PIECE)));
	bytes_t bytes;
	piece_t own = (piece_t)((quads_t){0} + UINT64_C(0x8040201008040201)), to_lanes;

	for (int lane = 0; lane < PIECE; lane++)
		to_lanes[lane] = (uint8_t)(lane >> 3);
	/* Bring each byte of the mask to its eight lanes, then leave the lane's own bit. */
	for (int part = 0; part < PIECES; part++) {
		piece_t all = (piece_t)((quads_t){0} + (lanes >> part * PIECE));
		piece_t piece = (piece_t)((__builtin_shuffle(all, to_lanes) & own) == own);

		memcpy((char *)&bytes + part * PIECE, &piece, sizeof piece);
	}
	return bytes;
#endif
}

/* `spread` for numbers of 16 bits. */
INLINE words_t spread_words(lanes_t lanes)
{
	words_t words;

	for (int part = 0; part < WORD_PIECES; part++) {
#ifdef __AVX512BW__
		__m512i piece = _mm512_movm_epi16((__mmask32)(lanes >> part * WORDS));
#else
		word_piece_t own;

		for (int lane = 0; lane < WORDS; lane++)
			own[lane] = (uint16_t)(1 << lane);
		word_piece_t all = (word_piece_t){0} + (uint16_t)(lanes >> part * WORDS);
		word_piece_t piece = (word_piece_t)((all & own) == own);
#endif
		memcpy((char *)&words + part * PIECE, &piece, sizeof piece);
	}
	return words;
}

INLINE bytes_t all_bytes(uint8_t value)
{
	return (bytes_t){0} + value;
}

INLINE words_t all_words(uint16_t value)
{
	return (words_t){0} + value;
}

/* The lanes in which two numbers are the same. */
INLINE lanes_t equal(bytes_t a, bytes_t b)
{
	lanes_t lanes = 0;

	for (int part = 0; part < PIECES; part++)
		lanes |= gather_piece((piece_t)(piece_of(&a, part) == piece_of(&b, part))) << part * PIECE;
	return lanes;
}

/* The lanes in which the first number is greater than the second. */
INLINE lanes_t greater(bytes_t a, bytes_t b)
{
	lanes_t lanes = 0;

	for (int part = 0; part < PIECES; part++)
		lanes |= gather_piece((piece_t)(piece_of(&a, part) > piece_of(&b, part))) << part * PIECE;
	return lanes;
}

INLINE lanes_t equal_words(words_t a, words_t b)
{
	lanes_t lanes = 0;

	for (int part = 0; part < WORD_PIECES; part++)
		lanes |= gather_word_piece((word_piece_t)(word_piece_of(&a, part) == word_piece_of(&b, part))) << part * WORDS;
	return lanes;
}

INLINE lanes_t greater_words(words_t a, words_t b)
{
	lanes_t lanes = 0;

	for (int part = 0; part < WORD_PIECES; part++)
		lanes |= gather_word_piece((word_piece_t)(word_piece_of(&a, part) > word_piece_of(&b, part))) << part * WORDS;
	return lanes;
}

/* The larger of two numbers, in each lane. */
INLINE words_t larger_words(words_t a, words_t b)
{
	words_t higher = spread_words(greater_words(a, b));

	return (a & higher) | (b & ~higher);
}

/* Bytes as numbers of 16 bits. */
INLINE words_t widened(bytes_t bytes)
{
	typedef uint8_t half_t __attribute__((vector_size(WORDS)));
	words_t words;

	for (int part = 0; part < WORD_PIECES; part++) {
		half_t half;

		memcpy(&half, (const char *)&bytes + part * WORDS, sizeof half);
		word_piece_t piece = __builtin_convertvector(half, word_piece_t);
		memcpy((char *)&words + part * PIECE, &piece, sizeof piece);
	}
	return words;
}

/* Numbers of 16 bits as bytes, of which all lanes are to be below 256. */
INLINE bytes_t narrowed(words_t words)
{
	uint16_t from[LANES];
	uint8_t to[LANES];
	bytes_t bytes;

	memcpy(from, &words, sizeof from);
	for (int lane = 0; lane < LANES; lane++)
		to[lane] = (uint8_t)from[lane];
	memcpy(&bytes, to, sizeof bytes);
	return bytes;
}

/* Add a number of its own to each lane's total, so many times. */
INLINE void add_to_totals(uint64_t *totals, words_t numbers, uint64_t times)
{
	uint16_t of_lanes[LANES];

	memcpy(of_lanes, &numbers, sizeof of_lanes);
	for (int lane = 0; lane < LANES; lane++)
		totals[lane] += of_lanes[lane] * times;
}
