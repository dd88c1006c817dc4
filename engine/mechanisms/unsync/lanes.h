/* Whether level-1 shadow pages may go out of sync, in lanes. */
#pragma once

#include "lanes/state.h"

INLINE bool unsync_is_used(const struct knobs *knobs)
{
	return !knobs->unsync || !knobs->prefetch_may_unsync;
}

INLINE lanes_t unsync_may_unsync(struct machine *m, int32_t slot, bool speculative, lanes_t lanes)
{
	lanes &= m->knobs.unsync.unsync;
	(void)slot;
	return speculative ? lanes & m->knobs.unsync.prefetch_may_unsync : lanes;
}
