#include <string.h>

#include "digest.h"

#define PRIME UINT64_C(0x00000100000001B3)
#define HIGH_BITS 29

/* FNV-1a by words, with a shift so that high bits reach low ones. Each step of a chain needs the one before. */
static inline uint64_t digest_word(uint64_t word, uint64_t state)
{
	state = (state ^ word) * PRIME;
	return state ^ state >> HIGH_BITS;
}

void digest_events(const struct event *events, size_t count, uint64_t chains[DIGEST_CHAINS])
{
	uint64_t states[DIGEST_CHAINS]; /* apart from the events, so that they may stay in registers */

	memcpy(states, chains, sizeof states);
	for (size_t i = 0; i < count; i++) {
		uint64_t words[DIGEST_CHAINS];

		memcpy(words, &events[i], sizeof words);
		for (int chain = 0; chain < DIGEST_CHAINS; chain++)
			states[chain] = digest_word(words[chain], states[chain]);
	}
	memcpy(chains, states, sizeof states);
}
