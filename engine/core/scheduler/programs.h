#pragma once

#include "scheduler/state.h"

/*
 * Tell whether the starts of templates, segments and units are those of something that is there. What single steps
 * name is looked at when they are done.
 */
bool programs_fit(const struct scheduler *scheduler);
