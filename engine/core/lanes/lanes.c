/*
 * The lane machine, one translation unit: the parts are headers, each of which includes what it stands on, so that the
 * compiler sees all of it at once. The build compiles this file once for each instruction set (setup.py), with the name
 * of its functions in LANES_NAME.
 */
#define _DEFAULT_SOURCE /* madvise and its flags */

#include "lanes.h"

#include "allocate.h"
#include "counting.h"
#include "events.h"
#include "mechanism_lanes.h"
#include "state.h"

#define STRING(name) #name
#define STRING_OF(name) STRING(name)

static void read_counters(struct machine *m, int lanes, int64_t (*counters)[COUNTERS], int64_t *peaks)
{
	for (int activity = 0; activity < ACTIVITIES; activity++)
		read_tallies(m, &m->tallies[activity], counters + (size_t)activity * (size_t)lanes, lanes);
	for (int lane = 0; lane < lanes; lane++)
		peaks[lane] = m->peak[lane];
}

extern const struct lanes_functions LANES_NAME;
const struct lanes_functions LANES_NAME = {
	.name = STRING_OF(LANES_NAME),
	.create = create_machine,
	.destroy = destroy_machine,
	.advance = advance,
	.read = read_counters,
	.capacity = {SLOTS, TABLES, ODD_ENTRIES - ODD_PER_EVENT},
	.frames = FRAMES,
	.vcpus = VCPUS,
};
