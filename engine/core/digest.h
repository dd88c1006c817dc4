/* The digest of a trace. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The digest of no event. */
#define DIGEST_OFFSET UINT64_C(0xCBF29CE484222325)

uint64_t digest_words(const uint64_t *words, size_t count, uint64_t state);
