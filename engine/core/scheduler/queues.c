/*
 * Run queues: what Linux 3.0's CFS does with tasks of equal weight (kernel/sched_fair.c).
 * Kept: virtual run time, slice = period / runnable tasks, sleepers placed half a latency before the others
 * (GENTLE_FAIR_SLEEPERS), a new task one slice behind (START_DEBIT), wake-up preemption by the wake-up granularity, a
 * woken task goes to its last vCPU if that is idle, else to any idle one, and an idle vCPU pulls from the longest
 * queue. A slice ends at a tick. Left out (assumption): periodic load balancing, groups, nice levels.
 */
#include "queues.h"

static int32_t *queue_of(const struct scheduler *scheduler, int64_t vcpu)
{
	return scheduler->queues + vcpu * scheduler->slots;
}

struct operation *emit_operation(struct scheduler *scheduler, int64_t slot, int64_t vcpu, int kind, uint32_t flags)
{
	const struct task *task = &scheduler->tasks[slot];
	struct operation *row = append_row(&scheduler->out, sizeof(*row));

	*row = (struct operation){
		.time_ns = (uint64_t)scheduler->counts->now_ns,
		.pid = (uint32_t)task->pid,
		.flags = flags,
		.kind = (uint8_t)kind,
		.vcpu = (uint8_t)vcpu,
		.comm = (uint16_t)task->comm,
	};
	return row;
}

/* Return how long one task may run: the period divided among the runnable tasks (sched_slice). */
static int64_t slice_ns(const struct scheduler *scheduler, int64_t vcpu)
{
	const struct tunables *tunables = scheduler->tunables;
	int64_t runnable = scheduler->runqueues[vcpu].queued + 1;

	if (runnable * tunables->min_granularity_ns > tunables->latency_ns)
		return tunables->min_granularity_ns;
	return tunables->latency_ns / runnable;
}

/* Set the tick at which the present slice of a vCPU is over; it has no end if nobody waits. */
static void set_slice_end(struct scheduler *scheduler, int64_t vcpu)
{
	struct runqueue *runqueue = &scheduler->runqueues[vcpu];
	int64_t tick = scheduler->tunables->tick_ns;
	int64_t end;

	if (runqueue->queued == 0) {
		runqueue->slice_end_ns = NEVER;
		return;
	}
	end = higher(runqueue->started_ns + slice_ns(scheduler, vcpu), scheduler->counts->now_ns + 1);
	runqueue->slice_end_ns = (end + tick - 1) / tick * tick;
}

/* Return the virtual run time of the process that runs on a vCPU, by now. */
static int64_t running_vruntime(const struct scheduler *scheduler, int64_t vcpu)
{
	return running_task(scheduler, vcpu)->vruntime_ns + scheduler->counts->now_ns -
	       scheduler->runqueues[vcpu].started_ns;
}

/* Move a queue's floor of virtual run time up to its least runnable process (update_min_vruntime). */
static void advance_floor(struct scheduler *scheduler, int64_t vcpu)
{
	struct runqueue *runqueue = &scheduler->runqueues[vcpu];
	const int32_t *queue = queue_of(scheduler, vcpu);
	int64_t floor = NEVER;

	if (runqueue->running != IDLE)
		floor = running_vruntime(scheduler, vcpu);
	for (int64_t i = 0; i < runqueue->queued; i++)
		floor = lower(floor, scheduler->tasks[queue[i]].vruntime_ns);
	if (floor != NEVER && floor > runqueue->min_vruntime_ns)
		runqueue->min_vruntime_ns = floor;
}

/* Start to run a process on an idle vCPU. */
static void start_running(struct scheduler *scheduler, int64_t slot, int64_t vcpu)
{
	struct runqueue *runqueue = &scheduler->runqueues[vcpu];
	struct task *task = &scheduler->tasks[slot];

	task->status = TASK_ON_CPU;
	task->home = vcpu;
	runqueue->running = slot;
	runqueue->started_ns = scheduler->counts->now_ns;
	runqueue->next_step_ns = scheduler->counts->now_ns + task->due_ns;
	set_slice_end(scheduler, vcpu);
	advance_floor(scheduler, vcpu);
	emit_operation(scheduler, slot, vcpu, OPERATION_SWITCH_IN, 0);
}

void stop_running(struct scheduler *scheduler, int64_t vcpu, int status)
{
	struct runqueue *runqueue = &scheduler->runqueues[vcpu];
	struct task *task = running_task(scheduler, vcpu);
	int64_t now = scheduler->counts->now_ns;

	advance_floor(scheduler, vcpu);
	task->due_ns = higher(0, runqueue->next_step_ns - now);
	task->vruntime_ns += now - runqueue->started_ns;
	task->status = status;
	runqueue->running = IDLE;
	runqueue->next_step_ns = NEVER;
	runqueue->slice_end_ns = NEVER;
	emit_operation(scheduler, slot_of(scheduler, task), vcpu, OPERATION_SWITCH_OUT, status == TASK_READY);
}

/* Put a ready process into a run queue (enqueue_task_fair). */
static void enqueue(struct scheduler *scheduler, int64_t slot, int64_t vcpu)
{
	struct runqueue *runqueue = &scheduler->runqueues[vcpu];
	struct task *task = &scheduler->tasks[slot];

	task->status = TASK_READY;
	task->home = vcpu;
	/* A process is in one queue at most, and each queue has a place for each slot. */
	if (runqueue->queued < scheduler->slots)
		queue_of(scheduler, vcpu)[runqueue->queued++] = (int32_t)slot;
	if (runqueue->running != IDLE)
		set_slice_end(scheduler, vcpu);
}

/* Take the process with the least virtual run time out of a queue that is not empty; the lower pid of equals. */
static int64_t take_leftmost(struct scheduler *scheduler, int64_t vcpu)
{
	struct runqueue *runqueue = &scheduler->runqueues[vcpu];
	int32_t *queue = queue_of(scheduler, vcpu);
	int64_t best = 0;
	int64_t slot;

	for (int64_t i = 1; i < runqueue->queued; i++) {
		const struct task *a = &scheduler->tasks[queue[i]], *b = &scheduler->tasks[queue[best]];
		int64_t ahead = a->vruntime_ns - b->vruntime_ns;

		if (ahead < 0 || (ahead == 0 && a->pid < b->pid))
			best = i;
	}
	slot = queue[best];
	runqueue->queued--;
	queue[best] = queue[runqueue->queued];
	return slot;
}

void pick_next(struct scheduler *scheduler, int64_t vcpu)
{
	const struct runqueue *runqueues = scheduler->runqueues;
	int64_t source = vcpu;
	int64_t slot;

	if (runqueues[vcpu].queued == 0) {
		for (int64_t other = 0; other < scheduler->vcpus; other++) {
			if (runqueues[other].queued > runqueues[source].queued)
				source = other;
		}
		if (source == vcpu)
			return;
	}
	slot = take_leftmost(scheduler, source);
	scheduler->tasks[slot].vruntime_ns += runqueues[vcpu].min_vruntime_ns - runqueues[source].min_vruntime_ns;
	start_running(scheduler, slot, vcpu);
}

/* Take a process off its vCPU, keep it ready, and run the next one. */
static void preempt(struct scheduler *scheduler, int64_t vcpu)
{
	int64_t slot = scheduler->runqueues[vcpu].running;

	stop_running(scheduler, vcpu, TASK_READY);
	enqueue(scheduler, slot, vcpu);
	pick_next(scheduler, vcpu);
}

void end_slice(struct scheduler *scheduler, int64_t vcpu)
{
	int64_t current = running_vruntime(scheduler, vcpu);

	for (int64_t i = 0; i < scheduler->runqueues[vcpu].queued; i++) {
		if (scheduler->tasks[queue_of(scheduler, vcpu)[i]].vruntime_ns < current) {
			preempt(scheduler, vcpu);
			return;
		}
	}
	set_slice_end(scheduler, vcpu);
}

void block(struct scheduler *scheduler, int64_t vcpu, int waits, int64_t waits_for)
{
	struct build_counts *counts = scheduler->counts;
	int64_t slot = scheduler->runqueues[vcpu].running;

	scheduler->tasks[slot].waits = waits;
	scheduler->tasks[slot].waits_for = waits_for;
	stop_running(scheduler, vcpu, TASK_BLOCKED);
	if (waits == WAITS_SLEEP && counts->sleepers < scheduler->slots)
		scheduler->sleepers[counts->sleepers++] = (int32_t)slot;
	pick_next(scheduler, vcpu);
}

/* Return an idle vCPU, the preferred one if it is, else the lowest; IDLE if all are busy (select_idle_sibling). */
static int64_t idle_vcpu(const struct scheduler *scheduler, int64_t preferred)
{
	if (scheduler->runqueues[preferred].running == IDLE)
		return preferred;
	for (int64_t vcpu = 0; vcpu < scheduler->vcpus; vcpu++) {
		if (scheduler->runqueues[vcpu].running == IDLE)
			return vcpu;
	}
	return IDLE;
}

void wake(struct scheduler *scheduler, int64_t slot)
{
	const struct tunables *tunables = scheduler->tunables;
	struct runqueue *runqueues = scheduler->runqueues;
	struct task *task = &scheduler->tasks[slot];
	int64_t vcpu = idle_vcpu(scheduler, task->home);

	task->waits = WAITS_NOTHING;
	if (vcpu == IDLE)
		vcpu = task->home;
	advance_floor(scheduler, vcpu);
	task->vruntime_ns += runqueues[vcpu].min_vruntime_ns - runqueues[task->home].min_vruntime_ns;
	task->vruntime_ns = higher(task->vruntime_ns, runqueues[vcpu].min_vruntime_ns - tunables->latency_ns / 2);
	if (runqueues[vcpu].running == IDLE) {
		start_running(scheduler, slot, vcpu);
		return;
	}
	enqueue(scheduler, slot, vcpu);
	if (running_vruntime(scheduler, vcpu) - task->vruntime_ns > tunables->wakeup_granularity_ns)
		preempt(scheduler, vcpu);
}

void start_new(struct scheduler *scheduler, int64_t slot)
{
	const struct runqueue *runqueues = scheduler->runqueues;
	int64_t vcpu = idle_vcpu(scheduler, 0);

	if (vcpu == IDLE) {
		vcpu = 0;
		for (int64_t other = 0; other < scheduler->vcpus; other++) {
			if (runqueues[other].queued < runqueues[vcpu].queued)
				vcpu = other;
		}
	}
	advance_floor(scheduler, vcpu);
	scheduler->tasks[slot].vruntime_ns = runqueues[vcpu].min_vruntime_ns + slice_ns(scheduler, vcpu);
	if (runqueues[vcpu].running == IDLE)
		start_running(scheduler, slot, vcpu);
	else
		enqueue(scheduler, slot, vcpu);
}
