/*
 * Makes and their job server: which recipe line starts next, as GNU make 4.3 with -j does it.
 * A build holds one job token from its start to its end; its make runs one unit on it for nothing and takes a further
 * token for each further unit at once. A make reacts to ended lines first, in the order in which they ended. A token
 * that comes free goes to the oldest make that has units left, then to the next build.
 */
#include "makes.h"

#include "queues.h"

int64_t create_task(struct scheduler *scheduler, int64_t template, int64_t parent, int64_t parent_register)
{
	struct build_counts *counts = scheduler->counts;
	int64_t cursor = scheduler->template_start[template];
	struct task task = {
		.pid = counts->next_pid,
		.parent = parent,
		.parent_register = parent_register,
		.cursor = cursor,
		.due_ns = scheduler->steps[cursor].run_ns,
		.waits = WAITS_NOTHING,
		.line_draw = IDLE,
		.segment_end = IDLE,
	};
	int64_t slot;

	if (counts->free == 0) {
		counts->failure = STATUS_NO_PROCESS_SLOT;
		return IDLE;
	}
	slot = scheduler->free_slots[--counts->free];
	counts->next_pid++;
	counts->live++;
	if (parent != IDLE) {
		scheduler->tasks[parent].children++;
		task.comm = scheduler->tasks[parent].comm;
		task.build = scheduler->tasks[parent].build;
		scheduler->child_gone[parent][parent_register] = 0;
	}
	scheduler->tasks[slot] = task;
	return slot;
}

void start_builds(struct scheduler *scheduler)
{
	struct build_counts *counts = scheduler->counts;

	while (counts->tokens > 0 && counts->started_builds < scheduler->build_count && !counts->failure) {
		int64_t slot = create_task(scheduler, counts->root, IDLE, 0);

		if (slot == IDLE)
			return;
		counts->tokens--;
		scheduler->tasks[slot].build = counts->started_builds++;
		start_new(scheduler, slot);
	}
}

static bool waits_for_line(const struct scheduler *scheduler, int64_t make)
{
	const struct task *task = &scheduler->tasks[make];

	return task->status == TASK_BLOCKED && task->waits == WAITS_LINE;
}

void offer_token(struct scheduler *scheduler)
{
	scheduler->counts->tokens++;
	for (int64_t i = 0; i < scheduler->counts->started_builds; i++) {
		const struct build *build = &scheduler->builds[i];
		bool hungry = build->make_slot != IDLE && build->next_draw < build->last_draw;

		if (hungry && waits_for_line(scheduler, build->make_slot)) {
			wake(scheduler, build->make_slot);
			return;
		}
	}
	start_builds(scheduler);
}

void line_ended(struct scheduler *scheduler, int64_t draw, int64_t make)
{
	struct build *build = &scheduler->builds[scheduler->tasks[make].build];
	int64_t units = build->last_draw - build->first_draw;
	int64_t place = (build->ended_head + build->ended_count) % units;

	scheduler->draws[build->first_draw + place].ended = draw;
	build->ended_count++;
	if (waits_for_line(scheduler, make))
		wake(scheduler, make);
}

static int64_t take_ended(struct scheduler *scheduler, struct build *build)
{
	int64_t draw = scheduler->draws[build->first_draw + build->ended_head].ended;

	build->ended_head = (build->ended_head + 1) % (build->last_draw - build->first_draw);
	build->ended_count--;
	return draw;
}

/* Return how many recipe lines a draw's unit has. */
static int64_t lines_of(const struct scheduler *scheduler, int64_t draw)
{
	int64_t unit = scheduler->draws[draw].unit;

	return scheduler->unit_segment[unit + 1] - scheduler->unit_segment[unit];
}

/* Send a make to the segment that starts the present line of a draw. */
static void begin_segment(struct scheduler *scheduler, int64_t make, int64_t draw)
{
	int64_t segment = scheduler->unit_segment[scheduler->draws[draw].unit] + scheduler->draws[draw].line;
	struct task *task = &scheduler->tasks[make];

	if (segment >= scheduler->segments) {
		scheduler->counts->failure = STATUS_BAD_OPERATION;
		return;
	}
	task->current_draw = draw;
	task->cursor = scheduler->segment_start[segment];
	task->segment_end = scheduler->segment_start[segment + 1];
}

enum decision next_line(struct scheduler *scheduler, int64_t make, int64_t *given_back)
{
	struct build *build = &scheduler->builds[scheduler->tasks[make].build];
	struct build_counts *counts = scheduler->counts;

	build->make_slot = make;
	*given_back = 0;
	while (build->ended_count > 0) {
		int64_t draw = take_ended(scheduler, build);

		if (++scheduler->draws[draw].line < lines_of(scheduler, draw)) {
			begin_segment(scheduler, make, draw);
			return STARTS_LINE;
		}
		build->open_units--;
		if (build->open_units > 0)
			(*given_back)++;
	}
	if (build->next_draw < build->last_draw) {
		/* The first unit runs on the build's own token; a token just given back serves before a new one. */
		if (build->open_units > 0) {
			if (*given_back > 0)
				(*given_back)--;
			else if (counts->tokens > 0)
				counts->tokens--;
			else
				return MAKE_WAITS;
		}
		build->open_units++;
		begin_segment(scheduler, make, build->next_draw++);
		return STARTS_LINE;
	}
	if (build->open_units == 0) {
		build->make_slot = IDLE;
		return ENDS_BUILD;
	}
	return MAKE_WAITS;
}
