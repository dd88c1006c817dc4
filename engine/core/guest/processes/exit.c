/* The system call exit. Source: kernel/exit.c of Linux 6.1 (do_exit, exit_mm, release_task). */
#include "guest/calls.h"
#include "guest/mappings/reclaim.h"
#include "processes.h"
#include "schedule.h"
#include "spaces.h"

void end_process(struct guest *guest, int vcpu, struct process *process)
{
	struct cpu *cpu = &guest->cpus[vcpu];
	int64_t pid = process->pid;

	if (process->mm != ABSENT) {
		int64_t root;

		fill_file_pages(guest, vcpu);
		guest->world->activity = ACTIVITY_EXIT;
		root = drop_space(guest, vcpu, process->mm);
		if (root != ABSENT) {
			free_dead_root(guest, vcpu);
			cpu->dead_root = root;
		}
	}
	drop_process_data(guest, vcpu, process);
	remove_process(guest, process);
	if (cpu->pid == pid) {
		cpu->active_mm = ABSENT;
		cpu->exited = pid;
	}
}
