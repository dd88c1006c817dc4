/* Masks of a word of 16 or 64 lanes: a number. */
#pragma once

#if LANES == 16
typedef uint16_t lanes_t;
#else
typedef uint64_t lanes_t;
#endif

/* Whether a mask has any lane. */
INLINE bool any(lanes_t lanes)
{
	return lanes;
}

/* Whether a mask has more than one lane; it has at least one. */
INLINE bool several(lanes_t lanes)
{
	return lanes & (lanes - 1);
}

/* Which of the numbers of 64 lanes that a mask consists of are not 0, a bit each, and the first of these. */
INLINE unsigned used_words(lanes_t lanes)
{
	return lanes != 0;
}

INLINE int lowest_word(unsigned used)
{
	(void)used;
	return 0;
}

INLINE int lowest(lanes_t lanes)
{
	return __builtin_ctzll(lanes);
}

/* The mask of one lane. */
INLINE lanes_t bit(int lane)
{
	return (lanes_t)1 << lane;
}

INLINE bool has(lanes_t lanes, int lane)
{
	return lanes & bit(lane);
}

/* Have a lane in a mask or not. */
INLINE void set_lane(lanes_t *lanes, int lane, bool is_in)
{
	*lanes = (*lanes & ~bit(lane)) | (lanes_t)is_in << lane;
}

/* For each lane of a mask, lowest first. */
#define FOR_EACH_LANE(lane, lanes) \
	for (lanes_t lane##_rest = (lanes); lane##_rest; lane##_rest &= lane##_rest - 1) \
		for (int lane = lowest(lane##_rest), lane##_once = 1; lane##_once; lane##_once = 0)
