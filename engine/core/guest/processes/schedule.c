/* Run time, windows and context switches. */
#include "schedule.h"

#include "guest/emit.h"
#include "guest/mappings/teardown.h"
#include "guest/tables/flush.h"
#include "processes.h"

void account_run(struct guest *guest, int vcpu, int64_t now)
{
	struct cpu *cpu = &guest->cpus[vcpu];

	if (now <= cpu->last_ns)
		return;
	if (cpu->running) {
		int64_t run = now - cpu->last_ns;

		cpu->pending_ns += run;
		cpu->since_ns += run;
		guest->world->busy_ns += run;
	}
	cpu->last_ns = now;
}

void report_run(struct guest *guest, int vcpu)
{
	struct cpu *cpu = &guest->cpus[vcpu];

	if (cpu->pending_ns <= 0)
		return;
	guest->world->activity = ACTIVITY_NONE;
	emit(guest, vcpu, EVENT_RUN, 0, (uint64_t)cpu->pending_ns);
	cpu->pending_ns = 0;
}

/* Return when the next window begins; unsigned, because that may be after the end of 63-bit time. */
static uint64_t next_window_ns(const struct world *world)
{
	return (uint64_t)(world->window + 1) * (uint64_t)world->window_ns;
}

bool open_windows(struct guest *guest, int64_t now)
{
	struct world *world = guest->world;

	while ((uint64_t)now >= next_window_ns(world)) {
		if (rows_full(&guest->out))
			return false;
		world->window++;
		for (int vcpu = 0; vcpu < world->vcpus; vcpu++) {
			account_run(guest, vcpu, world->window * world->window_ns);
			report_run(guest, vcpu);
		}
		world->activity = ACTIVITY_NONE;
		emit(guest, 0, EVENT_WINDOW, 0, (uint64_t)world->window);
	}
	return true;
}

void switch_out(struct guest *guest, int vcpu)
{
	struct cpu *cpu = &guest->cpus[vcpu];

	report_run(guest, vcpu);
	cpu->running = 0;
	cpu->pid = ABSENT;
	cpu->active_mm = ABSENT;
}

void switch_in(struct guest *guest, int vcpu, int64_t pid)
{
	struct cpu *cpu = &guest->cpus[vcpu];
	const struct process *process = find_process(guest, pid);

	if (cpu->running)
		switch_out(guest, vcpu);
	cpu->pid = pid;
	cpu->running = 1;
	cpu->active_mm = process == NULL ? ABSENT : process->mm;
	guest->world->activity = ACTIVITY_SWITCH;
	if (cpu->active_mm != ABSENT && cpu->mm != cpu->active_mm)
		load_root(guest, vcpu, cpu->active_mm);
	free_dead_root(guest, vcpu);
}

void free_dead_root(struct guest *guest, int vcpu)
{
	struct cpu *cpu = &guest->cpus[vcpu];

	if (cpu->dead_root == ABSENT)
		return;
	free_root(guest, vcpu, cpu->dead_root);
	cpu->dead_root = ABSENT;
}
