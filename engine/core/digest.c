#include "digest.h"

#define PRIME UINT64_C(0x00000100000001B3)
#define HIGH_BITS 29

/* FNV-1a by words, with a shift so that high bits reach low ones. Each step needs the one before: there is one chain. */
uint64_t digest_words(const uint64_t *words, size_t count, uint64_t state)
{
	for (size_t i = 0; i < count; i++) {
		state = (state ^ words[i]) * PRIME;
		state ^= state >> HIGH_BITS;
	}
	return state;
}
