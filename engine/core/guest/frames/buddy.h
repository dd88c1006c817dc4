#pragma once

#include "guest/state.h"

/* Free one frame to the buddy lists, merged with its free buddies (Linux __free_one_page). */
void free_to_buddy(struct guest *guest, int64_t gfn);

/* Make the frames from `first` to `last` - 1 free at power-on. */
void seed_buddy(struct guest *guest, int64_t first, int64_t last);

/* Take one frame of a migrate type, from the smallest block that is free (Linux __rmqueue); ABSENT if none is. */
int64_t take_from_buddy(struct guest *guest, int migrate);
