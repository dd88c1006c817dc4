/* The system call clone: threads, vfork children, forked children. */
#include "fork.h"
#include "guest/calls.h"
#include "processes.h"
#include "schedule.h"
#include "spaces.h"

/* End a process whose exit the recording lost, for its pid is given anew: it exits here, and runs nowhere. */
static void end_stale(struct guest *guest, int vcpu, struct process *process)
{
	int64_t pid = process->pid;

	end_process(guest, vcpu, process);
	for (int other = 0; other < guest->world->vcpus; other++) {
		if (guest->cpus[other].pid == pid)
			switch_out(guest, other);
	}
}

/* Return the address space of a child; ABSENT is that of a kernel thread, or a noted failure. */
static int child_space(struct guest *guest, int vcpu, struct process *parent, const struct operation *operation)
{
	int mm = parent->mm;
	int child;

	guest->world->activity = ACTIVITY_FORK;
	if (operation->flags & CLONE_FLAG_VM) {
		if (mm != ABSENT)
			guest->mms[mm].users++;
		return mm;
	}
	mm = ensure_space(guest, vcpu, parent, operation->comm);
	if (mm == ABSENT)
		return ABSENT;
	guest->world->activity = ACTIVITY_FORK;
	child = fork_space(guest, vcpu, mm);
	if (child != ABSENT && operation->flags & CLONE_FLAG_VFORK) {
		guest->mms[child].breaks_cow = 1;
		guest->mms[mm].breaks_cow = 1;
	}
	return child;
}

void clone_process(struct guest *guest, int vcpu, struct process *process, const struct operation *operation)
{
	struct process *stale = find_process(guest, operation->peer);
	int64_t pid = process->pid;
	struct process *child;
	int mm;

	if (stale != NULL) {
		end_stale(guest, vcpu, stale);
		/* The table closes gaps, which moves processes. */
		process = find_process(guest, pid);
		if (process == NULL)
			return;
	}
	mm = child_space(guest, vcpu, process, operation);
	if (guest->world->failure)
		return;
	child = add_process(guest, operation->peer, mm, operation->comm);
	if (child != NULL)
		take_process_data(guest, vcpu, child);
}
