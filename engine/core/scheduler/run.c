/*
 * Run process templates on vCPUs and write layer-1 operations in time order.
 * One event at a time, the earliest first over all vCPUs: a process's next step, the end of a time slice, or the end
 * of a sleep. Ties go to sleepers, then to the lower vCPU, so that equal inputs give equal bytes.
 */
#include "run.h"

#include "queues.h"
#include "steps.h"

/* Operations that one event usually causes on each vCPU, at most; more wait in the spill. */
#define MARGIN_PER_VCPU 8

/* What happens next, beside plain operations: on which vCPU (IDLE: nothing does), and when. */
struct happening {
	int64_t vcpu;
	int64_t time_ns;
};

static void wake_sleeper(struct scheduler *scheduler)
{
	struct build_counts *counts = scheduler->counts;
	int32_t *sleepers = scheduler->sleepers;
	int64_t best = 0;
	int64_t slot;

	for (int64_t i = 1; i < counts->sleepers; i++) {
		const struct task *a = &scheduler->tasks[sleepers[i]], *b = &scheduler->tasks[sleepers[best]];

		if (a->wake_ns < b->wake_ns || (a->wake_ns == b->wake_ns && a->pid < b->pid))
			best = i;
	}
	slot = sleepers[best];
	counts->sleepers--;
	sleepers[best] = sleepers[counts->sleepers];
	wake(scheduler, slot);
}

/* Return when the first sleeper wakes, or NEVER. */
static int64_t first_wake(const struct scheduler *scheduler)
{
	int64_t first = NEVER;

	for (int64_t i = 0; i < scheduler->counts->sleepers; i++)
		first = lower(first, scheduler->tasks[scheduler->sleepers[i]].wake_ns);
	return first;
}

/* Return the vCPU on which something happens first, the lowest of equals; `elsewhere` is when on any other. */
static struct happening first_happening(const struct scheduler *scheduler, int64_t *elsewhere)
{
	struct happening first = {IDLE, NEVER};

	*elsewhere = NEVER;
	for (int64_t vcpu = 0; vcpu < scheduler->vcpus; vcpu++) {
		const struct runqueue *runqueue = &scheduler->runqueues[vcpu];
		int64_t time = lower(runqueue->next_step_ns, runqueue->slice_end_ns);

		if (time < first.time_ns) {
			*elsewhere = first.time_ns;
			first = (struct happening){vcpu, time};
		} else if (time < *elsewhere) {
			*elsewhere = time;
		}
	}
	return first;
}

/* Write plain operations of one vCPU from `time` to `until`; return the time of the step where it stopped. */
static int64_t write_plain(struct scheduler *scheduler, int64_t vcpu, int64_t time, int64_t until, size_t room)
{
	struct task *task = running_task(scheduler, vcpu);
	const struct program_step *step = &scheduler->steps[task->cursor];
	const struct program_step *last = &scheduler->steps[scheduler->step_count - 1];

	while (time < until && scheduler->out.count < room && is_plain(step->kind)) {
		struct operation *row = append_row(&scheduler->out, sizeof(*row));

		*row = (struct operation){
			.time_ns = (uint64_t)time,
			.address = step->address,
			.length = step->length,
			.pid = (uint32_t)task->pid,
			.flags = step->flags,
			.kind = step->kind,
			.vcpu = (uint8_t)vcpu,
			.comm = (uint16_t)task->comm,
		};
		if (step == last) {
			scheduler->counts->failure = STATUS_BAD_OPERATION;
			break;
		}
		step++;
		time += step->run_ns;
	}
	task->cursor = step - scheduler->steps;
	scheduler->runqueues[vcpu].next_step_ns = time;
	return time;
}

/* Write plain operations of all vCPUs until anything else happens, or the room is used up. */
static struct happening run_plain(struct scheduler *scheduler, int64_t wake_ns, size_t room)
{
	while (true) {
		int64_t elsewhere;
		struct happening first = first_happening(scheduler, &elsewhere);
		const struct runqueue *runqueue;
		int64_t until;

		if (first.vcpu == IDLE || wake_ns <= first.time_ns)
			return first;
		runqueue = &scheduler->runqueues[first.vcpu];
		if (runqueue->slice_end_ns < runqueue->next_step_ns)
			return first;
		until = higher(first.time_ns + 1, lower(elsewhere, runqueue->slice_end_ns));
		until = lower(wake_ns, until);
		first.time_ns = write_plain(scheduler, first.vcpu, first.time_ns, until, room);
		if (first.time_ns < until)
			return first;
	}
}

int run_scheduler(struct scheduler *scheduler)
{
	struct build_counts *counts = scheduler->counts;
	size_t margin = MARGIN_PER_VCPU * (size_t)(1 + scheduler->vcpus);
	size_t room = scheduler->out.capacity > margin ? scheduler->out.capacity - margin : 1;

	while (scheduler->out.count < room && !counts->failure) {
		int64_t wake_ns = first_wake(scheduler);
		struct happening next = run_plain(scheduler, wake_ns, room);

		if (next.vcpu == IDLE && wake_ns == NEVER)
			return counts->live > 0 ? STATUS_STALLED : STATUS_DONE;
		if (scheduler->out.count >= room)
			break;
		counts->now_ns = lower(next.time_ns, wake_ns);
		if (wake_ns <= next.time_ns)
			wake_sleeper(scheduler);
		else if (scheduler->runqueues[next.vcpu].slice_end_ns < scheduler->runqueues[next.vcpu].next_step_ns)
			end_slice(scheduler, next.vcpu);
		else
			do_special_step(scheduler, next.vcpu);
		if (scheduler->out.spill->failed)
			return STATUS_NO_HOST_MEMORY;
	}
	return (int)counts->failure;
}
