/* The scheduler's functions of `engine._core`: from Python's arrays to the record that the scheduler works on. */
#include "module_scheduler.h"

#include "makes.h"
#include "programs.h"
#include "run.h"
#include "scheduler/state.h"

/* In the order of `State` in engine/core/scheduler/state.py. */
enum place {
	TASKS,
	CHILD_GONE,
	RUNQUEUES,
	QUEUES,
	DRAWS,
	BUILDS,
	FREE_SLOTS,
	SLEEPERS,
	COUNTS,
	TUNABLES,
	STEPS,
	TEMPLATE_START,
	SEGMENT_START,
	UNIT_SEGMENT,
	SCHEDULER_ARRAYS,
};

static const struct array ARRAYS[SCHEDULER_ARRAYS] = {
	[TASKS] = ARRAY(struct scheduler, tasks, true),
	[CHILD_GONE] = ARRAY(struct scheduler, child_gone, true),
	[RUNQUEUES] = ARRAY(struct scheduler, runqueues, true),
	[QUEUES] = ARRAY(struct scheduler, queues, true),
	[DRAWS] = ARRAY(struct scheduler, draws, true),
	[BUILDS] = ARRAY(struct scheduler, builds, true),
	[FREE_SLOTS] = ARRAY(struct scheduler, free_slots, true),
	[SLEEPERS] = ARRAY(struct scheduler, sleepers, true),
	[COUNTS] = ARRAY(struct scheduler, counts, true),
	[TUNABLES] = ARRAY(struct scheduler, tunables, false),
	[STEPS] = ARRAY(struct scheduler, steps, false),
	[TEMPLATE_START] = ARRAY(struct scheduler, template_start, false),
	[SEGMENT_START] = ARRAY(struct scheduler, segment_start, false),
	[UNIT_SEGMENT] = ARRAY(struct scheduler, unit_segment, false),
};

_Static_assert(SCHEDULER_ARRAYS <= ARRAYS_MAX, "a view for each array");

/* Look whether the arrays fit each other, and what the state says of itself lies within them. */
static bool sizes_fit(const struct arrays *arrays, const struct scheduler *scheduler)
{
	const struct build_counts *counts = scheduler->counts;
	int64_t slots = scheduler->slots;

	return expect_range(arrays, "slots", slots, 1, INT32_MAX) &&
	       expect_range(arrays, "vcpus", scheduler->vcpus, 1, UINT8_MAX) &&
	       expect_range(arrays, "draws", scheduler->draw_count, 1, INT64_MAX) &&
	       expect_range(arrays, "templates", scheduler->templates, 1, INT64_MAX) &&
	       expect_range(arrays, "segments", scheduler->segments, 1, INT64_MAX) &&
	       expect_range(arrays, "units", scheduler->units, 1, INT64_MAX) &&
	       expect_range(arrays, "steps", scheduler->step_count, 1, INT64_MAX) &&
	       expect_length(arrays, CHILD_GONE, slots) && expect_length(arrays, QUEUES, slots * scheduler->vcpus) &&
	       expect_length(arrays, FREE_SLOTS, slots) && expect_length(arrays, SLEEPERS, slots) &&
	       expect_range(arrays, "free", counts->free, 0, slots) &&
	       expect_range(arrays, "sleepers", counts->sleepers, 0, slots) &&
	       expect_range(arrays, "started_builds", counts->started_builds, 0, scheduler->build_count) &&
	       expect_range(arrays, "root", counts->root, 0, scheduler->templates - 1) &&
	       expect_range(arrays, "lines_step", counts->lines_step, 0, scheduler->step_count - 1) &&
	       expect_range(arrays, "tick_ns", scheduler->tunables->tick_ns, 1, NEVER);
}

/* Look whether each build has draws, and each draw a unit that was recorded. */
static bool draws_fit(const struct arrays *arrays, const struct scheduler *scheduler)
{
	for (int64_t i = 0; i < scheduler->build_count; i++) {
		const struct build *build = &scheduler->builds[i];
		int64_t units = build->last_draw - build->first_draw;

		if (!expect_range(arrays, "first_draw", build->first_draw, 0, scheduler->draw_count - 1) ||
		    !expect_range(arrays, "last_draw", build->last_draw, build->first_draw + 1,
				  scheduler->draw_count) ||
		    !expect_range(arrays, "next_draw", build->next_draw, build->first_draw, build->last_draw) ||
		    !expect_range(arrays, "ended_head", build->ended_head, 0, units - 1))
			return false;
	}
	for (int64_t i = 0; i < scheduler->draw_count; i++) {
		if (!expect_range(arrays, "unit", scheduler->draws[i].unit, 0, scheduler->units - 1))
			return false;
	}
	return true;
}

static bool check_programs(const struct scheduler *scheduler)
{
	if (programs_fit(scheduler))
		return true;
	PyErr_SetString(PyExc_ValueError, "process templates: the starts of templates, segments or units do not fit");
	return false;
}

static bool bind_scheduler(struct scheduler *scheduler, struct arrays *arrays, PyObject *state, PyObject *capsule)
{
	*scheduler = (struct scheduler){.out = {.row_bytes = sizeof(struct operation), .spill = spill_of(capsule)}};
	*arrays = (struct arrays){.owner = "scheduler", .list = ARRAYS, .count = SCHEDULER_ARRAYS};
	if (scheduler->out.spill == NULL || !take_arrays(arrays, state, scheduler))
		return false;
	scheduler->slots = array_length(arrays, TASKS);
	scheduler->vcpus = array_length(arrays, RUNQUEUES);
	scheduler->draw_count = array_length(arrays, DRAWS);
	scheduler->build_count = array_length(arrays, BUILDS);
	scheduler->step_count = array_length(arrays, STEPS);
	scheduler->templates = array_length(arrays, TEMPLATE_START) - 1;
	scheduler->segments = array_length(arrays, SEGMENT_START) - 1;
	scheduler->units = array_length(arrays, UNIT_SEGMENT) - 1;
	if (expect_length(arrays, COUNTS, 1) && expect_length(arrays, TUNABLES, 1) && sizes_fit(arrays, scheduler) &&
	    draws_fit(arrays, scheduler) && check_programs(scheduler))
		return true;
	release_arrays(arrays);
	return false;
}

static int start_scheduler(struct scheduler *scheduler)
{
	start_builds(scheduler);
	return (int)scheduler->counts->failure;
}

/* Call a function of the scheduler with the arrays of `arguments`, which are (state, spill, out). */
static PyObject *call(PyObject *arguments, int (*function)(struct scheduler *))
{
	struct scheduler scheduler;
	struct arrays arrays;
	PyObject *state, *capsule, *out;
	Py_buffer view;
	int status;

	if (!PyArg_ParseTuple(arguments, "OOO", &state, &capsule, &out) ||
	    !take_buffer(out, &view, "out", sizeof(struct operation), true))
		return NULL;
	if (!bind_scheduler(&scheduler, &arrays, state, capsule)) {
		PyBuffer_Release(&view);
		return NULL;
	}
	scheduler.out.rows = view.buf;
	scheduler.out.capacity = (size_t)view.len / sizeof(struct operation);
	Py_BEGIN_ALLOW_THREADS
	drain_spill(&scheduler.out);
	status = function(&scheduler);
	Py_END_ALLOW_THREADS
	release_arrays(&arrays);
	PyBuffer_Release(&view);
	return Py_BuildValue("(in)", status, (Py_ssize_t)scheduler.out.count);
}

PyObject *scheduler_start(PyObject *module, PyObject *arguments)
{
	(void)module;
	return call(arguments, start_scheduler);
}

PyObject *scheduler_run(PyObject *module, PyObject *arguments)
{
	(void)module;
	return call(arguments, run_scheduler);
}
