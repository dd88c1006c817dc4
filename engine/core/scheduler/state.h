/* All state of one generated build as one record (engine/core/scheduler/state.py says what its arrays hold). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"
#include "rows.h"

struct scheduler {
	struct task *tasks;
	uint8_t (*child_gone)[REGISTERS];
	struct runqueue *runqueues;
	/* [vcpu * slots + i] */
	int32_t *queues;
	struct draw *draws;
	struct build *builds;
	int32_t *free_slots;
	int32_t *sleepers;
	struct build_counts *counts;
	const struct tunables *tunables;
	const struct program_step *steps;
	const int64_t *template_start;
	const int64_t *segment_start;
	const int64_t *unit_segment;
	int64_t slots;
	int64_t vcpus;
	int64_t draw_count;
	int64_t build_count;
	int64_t step_count;
	int64_t templates;
	int64_t segments;
	int64_t units;
	struct rows out;
};

static inline int64_t lower(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static inline int64_t higher(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* Return the process that runs on a vCPU. */
static inline struct task *running_task(const struct scheduler *scheduler, int64_t vcpu)
{
	return &scheduler->tasks[scheduler->runqueues[vcpu].running];
}

static inline int64_t slot_of(const struct scheduler *scheduler, const struct task *task)
{
	return task - scheduler->tasks;
}
