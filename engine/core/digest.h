/* The digest of a trace. */
#pragma once

#include "layout.h"

/* An event has three words; each has a chain of its own, so that none waits for the others. */
enum { DIGEST_CHAINS = sizeof(struct event) / sizeof(uint64_t) };

/* Go on with the chains over events. */
void digest_events(const struct event *events, size_t count, uint64_t chains[DIGEST_CHAINS]);
