/* The steps of a process that may change who runs: clone, exec, waiting, sleep, end, the recipe lines of a make. */
#include "steps.h"

#include "makes.h"
#include "queues.h"

/* Give the slots of ended processes without children back, upwards from one. */
static void release_slots(struct scheduler *scheduler, int64_t slot)
{
	struct build_counts *counts = scheduler->counts;

	while (slot != IDLE) {
		struct task *task = &scheduler->tasks[slot];

		if (task->status != TASK_GONE || task->children != 0)
			break;
		task->status = TASK_FREE;
		/* A slot is given back once. */
		if (counts->free < scheduler->slots)
			scheduler->free_slots[counts->free++] = (int32_t)slot;
		slot = task->parent;
		if (slot != IDLE)
			scheduler->tasks[slot].children--;
	}
}

static bool waits(const struct task *task, int what, int64_t waits_for)
{
	return task->status == TASK_BLOCKED && task->waits == what && task->waits_for == waits_for;
}

static void wake_vfork_parent(struct scheduler *scheduler, const struct task *task)
{
	if (task->parent != IDLE && waits(&scheduler->tasks[task->parent], WAITS_VFORK, task->pid))
		wake(scheduler, task->parent);
}

/* Wake the parent and the siblings that wait for the end of a process. */
static void wake_waiters(struct scheduler *scheduler, const struct task *task)
{
	int64_t parent = task->parent, parent_register = task->parent_register;

	scheduler->child_gone[parent][parent_register] = 1;
	if (waits(&scheduler->tasks[parent], WAITS_CHILD, parent_register))
		wake(scheduler, parent);
	if (scheduler->tasks[parent].children <= 1)
		return;
	for (int64_t other = 0; other < scheduler->slots; other++) {
		const struct task *sibling = &scheduler->tasks[other];

		if (sibling->parent == parent && waits(sibling, WAITS_SIBLING, parent_register))
			wake(scheduler, other);
	}
}

static void end_task(struct scheduler *scheduler, int64_t vcpu)
{
	struct task *task = running_task(scheduler, vcpu);

	stop_running(scheduler, vcpu, TASK_GONE);
	scheduler->counts->live--;
	wake_vfork_parent(scheduler, task);
	if (task->parent == IDLE)
		offer_token(scheduler);
	else if (task->line_draw != IDLE)
		line_ended(scheduler, task->line_draw, task->parent);
	else
		wake_waiters(scheduler, task);
	release_slots(scheduler, slot_of(scheduler, task));
	if (scheduler->runqueues[vcpu].running == IDLE)
		pick_next(scheduler, vcpu);
}

static void clone_task(struct scheduler *scheduler, int64_t vcpu, const struct program_step *step)
{
	int64_t slot = scheduler->runqueues[vcpu].running;
	int64_t child = create_task(scheduler, (int64_t)step->length, slot, (int64_t)step->address);
	bool suspends = step->flags & CLONE_FLAG_VFORK;
	uint32_t flags = step->flags;
	int64_t pid;

	if (child == IDLE)
		return;
	pid = scheduler->tasks[child].pid;
	if (step->address == LINE_REGISTER)
		scheduler->tasks[child].line_draw = scheduler->tasks[slot].current_draw;
	if (suspends)
		flags &= ~(uint32_t)scheduler->tunables->vfork_flags;
	emit_operation(scheduler, slot, vcpu, OPERATION_CLONE, flags)->peer = (uint32_t)pid;
	start_new(scheduler, child);
	if (suspends)
		block(scheduler, vcpu, WAITS_VFORK, pid);
}

/* Move the process of a vCPU past its present step; return that step. */
static const struct program_step *advance_cursor(struct scheduler *scheduler, int64_t vcpu)
{
	struct task *task = running_task(scheduler, vcpu);
	const struct program_step *step = &scheduler->steps[task->cursor];
	int64_t following = task->cursor + 1;
	int64_t run_ns = 0;

	if (following == task->segment_end) {
		task->segment_end = IDLE;
		following = scheduler->counts->lines_step;
	}
	if (step->kind != STEP_END) {
		if (following >= scheduler->step_count) {
			scheduler->counts->failure = STATUS_BAD_OPERATION;
			return step;
		}
		task->cursor = following;
		run_ns = scheduler->steps[following].run_ns;
	}
	scheduler->runqueues[vcpu].next_step_ns = scheduler->counts->now_ns + run_ns;
	return step;
}

static void do_lines(struct scheduler *scheduler, int64_t vcpu)
{
	const struct task *task = running_task(scheduler, vcpu);
	int64_t given_back;

	switch (next_line(scheduler, slot_of(scheduler, task), &given_back)) {
	case STARTS_LINE:
		scheduler->runqueues[vcpu].next_step_ns =
			scheduler->counts->now_ns + scheduler->steps[task->cursor].run_ns;
		break;
	case ENDS_BUILD:
		advance_cursor(scheduler, vcpu);
		break;
	case MAKE_WAITS:
		block(scheduler, vcpu, WAITS_LINE, 0);
		break;
	}
	while (given_back-- > 0)
		offer_token(scheduler);
}

/* Block until the child in a register of `parent` has ended, if it has not; `waits` says whose parent that is. */
static void wait_for_end(struct scheduler *scheduler, int64_t vcpu, int waits, int64_t parent, int64_t child_register)
{
	if (parent == IDLE)
		scheduler->counts->failure = STATUS_BAD_OPERATION;
	else if (!scheduler->child_gone[parent][child_register])
		block(scheduler, vcpu, waits, child_register);
}

/* Tell whether a step names a template or a register that is not there, as in a damaged file. */
static bool names_nothing(const struct scheduler *scheduler, const struct program_step *step)
{
	switch (step->kind) {
	case OPERATION_CLONE:
		return step->length >= (uint64_t)scheduler->templates || step->address >= REGISTERS;
	case STEP_WAIT_CHILD:
	case STEP_WAIT_SIBLING:
		return step->address >= REGISTERS;
	default:
		return false;
	}
}

void do_special_step(struct scheduler *scheduler, int64_t vcpu)
{
	struct task *task = running_task(scheduler, vcpu);
	const struct program_step *step = &scheduler->steps[task->cursor];

	if (step->kind == STEP_LINES) {
		do_lines(scheduler, vcpu);
		return;
	}
	if (names_nothing(scheduler, step)) {
		scheduler->counts->failure = STATUS_BAD_OPERATION;
		return;
	}
	advance_cursor(scheduler, vcpu);
	if (scheduler->counts->failure)
		return;
	switch (step->kind) {
	case OPERATION_CLONE:
		clone_task(scheduler, vcpu, step);
		break;
	case OPERATION_EXEC:
		task->comm = step->flags;
		emit_operation(scheduler, slot_of(scheduler, task), vcpu, OPERATION_EXEC, 0);
		wake_vfork_parent(scheduler, task);
		break;
	case STEP_END:
		end_task(scheduler, vcpu);
		break;
	case STEP_WAIT_CHILD:
		wait_for_end(scheduler, vcpu, WAITS_CHILD, slot_of(scheduler, task), (int64_t)step->address);
		break;
	case STEP_WAIT_SIBLING:
		wait_for_end(scheduler, vcpu, WAITS_SIBLING, task->parent, (int64_t)step->address);
		break;
	case STEP_SLEEP:
		task->wake_ns = scheduler->counts->now_ns;
		if (step->length < (uint64_t)scheduler->tunables->sleep_max_ns)
			task->wake_ns += (int64_t)step->length;
		else
			task->wake_ns += scheduler->tunables->sleep_max_ns;
		block(scheduler, vcpu, WAITS_SLEEP, 0);
		break;
	default:
		scheduler->counts->failure = STATUS_BAD_OPERATION;
	}
}
