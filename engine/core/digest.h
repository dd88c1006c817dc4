/* The digest of a trace. */
#pragma once

#include <stddef.h>
#include <stdint.h>

uint64_t digest_words(const uint64_t *words, size_t count, uint64_t state);
