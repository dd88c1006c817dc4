/* Look at process templates before they run: a file may be damaged, and nothing may be written beside an array. */
#include "programs.h"

/* Tell whether each of some starts is an index below `end` and none is before the one before it. */
static bool starts_fit(const int64_t *starts, int64_t count, int64_t end)
{
	int64_t before = 0;

	for (int64_t i = 0; i < count; i++) {
		if (starts[i] < before || starts[i] >= end)
			return false;
		before = starts[i];
	}
	return starts[count] >= before && starts[count] <= end;
}

/* Tell whether each unit has a recipe line. */
static bool units_fit(const struct scheduler *scheduler)
{
	for (int64_t unit = 0; unit < scheduler->units; unit++) {
		if (scheduler->unit_segment[unit] >= scheduler->unit_segment[unit + 1])
			return false;
	}
	return true;
}

bool programs_fit(const struct scheduler *scheduler)
{
	return starts_fit(scheduler->template_start, scheduler->templates, scheduler->step_count) &&
	       starts_fit(scheduler->segment_start, scheduler->segments, scheduler->step_count) &&
	       starts_fit(scheduler->unit_segment, scheduler->units, scheduler->segments) && units_fit(scheduler);
}
