/*
 * Lane masks and numbers of lanes: policies side by side, one bit of a word each, or one byte of a vector each.
 *
 * A word has 16 lanes, 64, or 512: one number, or a register of eight. The build says which (LANES); `&`, `|`, `^` and `~`
 * work on both, and what else is done with masks is a function here.
 *
 * A mask says in which lanes something holds. Small numbers that differ between lanes are byte lanes: adding one in any
 * set of lanes is one vector addition, whatever the set. All of this is exact integer arithmetic, so that every
 * instruction set gives the same results.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512BW__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define INLINE static inline __attribute__((always_inline))
/* What the event loop calls now and then stays out of it, so that its own values stay in registers. */
#define OUT_OF_LINE static __attribute__((noinline))

#ifndef LANES
#define LANES 64
#endif
enum { LANE_BITS = LANES == 16 ? 4 : LANES == 64 ? 6 : 9 };

#if LANES == 16 || LANES == 64
#include "narrow.h"
#elif LANES == 512
#include "wide.h"
#else
#error "a word has 16, 64 or 512 lanes"
#endif

#define NO_LANES ((lanes_t){0})
#define EVERY_LANE (~NO_LANES)

typedef uint8_t bytes_t __attribute__((vector_size(LANES)));
typedef uint16_t words_t __attribute__((vector_size(2 * LANES)));

/* A mask as numbers of 64 lanes each, in memory, where a loop over parts of it reads them. */
struct words {
	uint64_t words[(LANES + 63) / 64];
};

INLINE struct words words_of(lanes_t lanes)
{
	struct words of = {0};

	memcpy(of.words, &lanes, sizeof lanes);
	return of;
}

/* The number of a mask that has a lane. */
INLINE int word_of(int lane)
{
	return LANES == 64 ? 0 : lane >> 6;
}

/* A bit for each lane from some on, up to the end of its number. */
INLINE uint64_t bits_from(const struct words *of, int first)
{
	return of->words[word_of(first)] >> (first & 63);
}

/* Add bits, each of a lane from some on. */
INLINE void add_bits(struct words *to, int first, uint64_t bits)
{
	to->words[word_of(first)] |= bits << (first & 63);
}

INLINE lanes_t from_words(struct words of)
{
	lanes_t lanes;

	memcpy(&lanes, of.words, sizeof lanes);
	return lanes;
}

/* The mask, or no lane. */
INLINE lanes_t lanes_if(bool condition, lanes_t lanes)
{
	return condition ? lanes : NO_LANES;
}

/* Every lane, or no lane; no branch. */
INLINE lanes_t every_lane_if(bool condition)
{
	return NO_LANES - (uint64_t)condition;
}

/* Whether two masks are the same. */
INLINE bool same_lanes(lanes_t a, lanes_t b)
{
	return !any(a ^ b);
}

/* Have the memory of an object brought near. */
#define FETCH(object) \
	for (size_t line = 0; line < sizeof(object); line += 64) \
		__builtin_prefetch((const char *)&(object) + line)

/*
 * Compilers split sums of vectors that are wider than the registers, but take comparisons, conversions and shuffles of
 * such vectors apart into single numbers. Those are therefore spelled out here in pieces that fill one register.
 */
#if defined(__AVX512BW__) && LANES >= 64
#define PIECE 64
#else
#define PIECE 16
#endif
enum { PIECES = LANES / PIECE, WORD_PIECES = 2 * PIECES, WORDS = PIECE / 2 };

typedef uint8_t piece_t __attribute__((vector_size(PIECE)));
typedef uint16_t word_piece_t __attribute__((vector_size(PIECE)));

/* Part of a vector as it lies in memory. */
INLINE piece_t load_piece(const bytes_t *bytes, int part)
{
	piece_t piece;

	memcpy(&piece, (const char *)bytes + part * PIECE, sizeof piece);
	return piece;
}

INLINE void store_piece(bytes_t *bytes, int part, piece_t piece)
{
	memcpy((char *)bytes + part * PIECE, &piece, sizeof piece);
}

INLINE word_piece_t load_words(const words_t *words, int part)
{
	word_piece_t piece;

	memcpy(&piece, (const char *)words + part * PIECE, sizeof piece);
	return piece;
}

INLINE void store_words(words_t *words, int part, word_piece_t piece)
{
	memcpy((char *)words + part * PIECE, &piece, sizeof piece);
}

/* The mask of the lanes of a piece whose byte is 255, where all are 0 or 255. */
INLINE uint64_t gather_piece(piece_t piece)
{
#if PIECE == 64
	return _mm512_movepi8_mask((__m512i)piece);
#elif defined(__SSE2__)
	return (uint32_t)_mm_movemask_epi8((__m128i)piece);
#else
	uint64_t parts[PIECE / 8];
	uint64_t lanes = 0;

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
INLINE uint64_t gather_word_piece(word_piece_t piece)
{
#if PIECE == 64
	return _mm512_movepi16_mask((__m512i)piece);
#elif defined(__SSE2__)
	return (uint32_t)_mm_movemask_epi8(_mm_packs_epi16((__m128i)piece, _mm_setzero_si128()));
#else
	uint64_t parts[PIECE / 8];
	uint64_t lanes = 0;

	memcpy(parts, &piece, sizeof parts);
	for (int part = 0; part < PIECE / 8; part++) {
		uint64_t own = parts[part] & UINT64_C(0x0008000400020001);

		lanes |= (own * UINT64_C(0x0001000100010001) >> 48) << 4 * part;
	}
	return lanes;
#endif
}

/* A part of the byte lanes that hold 255 in the lanes of a mask and 0 elsewhere. */
INLINE piece_t spread_piece(const struct words *of, int part)
{
#if PIECE == 64
	return (piece_t)_mm512_movm_epi8(bits_from(of, part * PIECE));
#else
#define EIGHT(n) n, n, n, n, n, n, n, n
#define TO_LANES EIGHT(0), EIGHT(1)
	typedef uint64_t quads_t __attribute__((vector_size(PIECE)));
	piece_t own = (piece_t)((quads_t){0} + UINT64_C(0x8040201008040201));
	/* Bring each byte of the mask to its eight lanes, then leave the lane's own bit. */
	piece_t all = (piece_t)((quads_t){0} + bits_from(of, part * PIECE));
#ifdef __clang__
	piece_t of_lanes = __builtin_shufflevector(all, all, TO_LANES);
#else
	piece_t of_lanes = __builtin_shuffle(all, (piece_t){TO_LANES});
#endif
#undef TO_LANES
#undef EIGHT

	return (piece_t)((of_lanes & own) == own);
#endif
}

/* The same for numbers of 16 bits. */
INLINE word_piece_t spread_word_piece(const struct words *of, int part)
{
#if PIECE == 64
	return (word_piece_t)_mm512_movm_epi16((__mmask32)bits_from(of, part * WORDS));
#else
	const word_piece_t own = {1, 2, 4, 8, 16, 32, 64, 128};
	word_piece_t all = (word_piece_t){0} + (uint16_t)bits_from(of, part * WORDS);

	return (word_piece_t)((all & own) == own);
#endif
}

/* Add 1 in lanes. */
INLINE void increment(bytes_t *bytes, lanes_t lanes)
{
	struct words of = words_of(lanes);

	for (int part = 0; part < PIECES; part++)
		store_piece(bytes, part, load_piece(bytes, part) - spread_piece(&of, part));
}

INLINE void decrement(bytes_t *bytes, lanes_t lanes)
{
	struct words of = words_of(lanes);

	for (int part = 0; part < PIECES; part++)
		store_piece(bytes, part, load_piece(bytes, part) + spread_piece(&of, part));
}

/* Set lanes to one value. */
INLINE void set_bytes(bytes_t *bytes, lanes_t lanes, uint8_t value)
{
	struct words of = words_of(lanes);

	for (int part = 0; part < PIECES; part++) {
		piece_t set = spread_piece(&of, part);

		store_piece(bytes, part, (load_piece(bytes, part) & ~set) | (set & value));
	}
}

INLINE void increment_words(words_t *words, lanes_t lanes)
{
	struct words of = words_of(lanes);

	for (int part = 0; part < WORD_PIECES; part++)
		store_words(words, part, load_words(words, part) - spread_word_piece(&of, part));
}

INLINE void decrement_words(words_t *words, lanes_t lanes)
{
	struct words of = words_of(lanes);

	for (int part = 0; part < WORD_PIECES; part++)
		store_words(words, part, load_words(words, part) + spread_word_piece(&of, part));
}

INLINE void clear_words(words_t *words, lanes_t lanes)
{
	struct words of = words_of(lanes);

	for (int part = 0; part < WORD_PIECES; part++)
		store_words(words, part, load_words(words, part) & ~spread_word_piece(&of, part));
}

/* The lanes in which a number has a value. */
INLINE lanes_t equal(const bytes_t *bytes, uint8_t value)
{
	struct words found = {0};

	for (int part = 0; part < PIECES; part++)
		add_bits(&found, part * PIECE, gather_piece((piece_t)(load_piece(bytes, part) == value)));
	return from_words(found);
}

/* The lanes in which a number is greater than a value. */
INLINE lanes_t above_value(const bytes_t *bytes, uint8_t value)
{
	struct words found = {0};

	for (int part = 0; part < PIECES; part++)
		add_bits(&found, part * PIECE, gather_piece((piece_t)(load_piece(bytes, part) > value)));
	return from_words(found);
}

/* The lanes in which the first number is greater than the second. */
INLINE lanes_t greater(const bytes_t *a, const bytes_t *b)
{
	struct words found = {0};

	for (int part = 0; part < PIECES; part++)
		add_bits(&found, part * PIECE, gather_piece((piece_t)(load_piece(a, part) > load_piece(b, part))));
	return from_words(found);
}

INLINE lanes_t equal_words(const words_t *words, uint16_t value)
{
	struct words found = {0};

	for (int part = 0; part < WORD_PIECES; part++)
		add_bits(&found, part * WORDS, gather_word_piece((word_piece_t)(load_words(words, part) == value)));
	return from_words(found);
}

INLINE lanes_t words_above_value(const words_t *words, uint16_t value)
{
	struct words found = {0};

	for (int part = 0; part < WORD_PIECES; part++)
		add_bits(&found, part * WORDS, gather_word_piece((word_piece_t)(load_words(words, part) > value)));
	return from_words(found);
}

/* Bytes of one piece of words, as words. */
INLINE word_piece_t load_widened(const bytes_t *bytes, int part)
{
#if PIECE == 64
	return (word_piece_t)_mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)bytes + part));
#else
	typedef uint8_t half_t __attribute__((vector_size(WORDS)));
	half_t half;

	memcpy(&half, (const char *)bytes + part * WORDS, sizeof half);
	return __builtin_convertvector(half, word_piece_t);
#endif
}

/* Add byte lanes to words, in the lanes of a mask. */
INLINE void add_bytes(words_t *words, const bytes_t *bytes, lanes_t lanes)
{
	struct words of = words_of(lanes);

	for (int part = 0; part < WORD_PIECES; part++)
		store_words(words, part,
			    load_words(words, part) + (load_widened(bytes, part) & spread_word_piece(&of, part)));
}

INLINE void add_words(words_t *words, const words_t *more, lanes_t lanes)
{
	struct words of = words_of(lanes);

	for (int part = 0; part < WORD_PIECES; part++)
		store_words(words, part, load_words(words, part) + (load_words(more, part) & spread_word_piece(&of, part)));
}

/* Bytes as words. */
INLINE void widen_bytes(words_t *words, const bytes_t *bytes)
{
	for (int part = 0; part < WORD_PIECES; part++)
		store_words(words, part, load_widened(bytes, part));
}

/* Words as bytes; all are below 256. */
static void narrow_words(bytes_t *bytes, const words_t *words)
{
	for (int lane = 0; lane < LANES; lane++)
		(*bytes)[lane] = (uint8_t)(*words)[lane];
}

/* Add to each lane's total a number of its own, so many times. */
INLINE void add_to_totals(uint64_t *totals, const words_t *numbers, uint64_t times)
{
	uint16_t of_lanes[LANES];

	memcpy(of_lanes, numbers, sizeof of_lanes);
	for (int lane = 0; lane < LANES; lane++)
		totals[lane] += of_lanes[lane] * times;
}
