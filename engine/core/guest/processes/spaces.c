/* Address spaces, which processes share: made, found, given up. */
#include "spaces.h"

#include "guest/mappings/teardown.h"
#include "guest/tables/flush.h"
#include "guest/tables/tables.h"

int new_space(struct guest *guest, int vcpu, int64_t comm)
{
	struct world *world = guest->world;
	int64_t root;
	int mm;

	if (world->mm_top == 0) {
		world->failure = STATUS_NO_ADDRESS_SPACE;
		return ABSENT;
	}
	root = allocate_root(guest, vcpu);
	if (root == 0)
		return ABSENT;
	mm = guest->mm_stack[--world->mm_top];
	guest->mms[mm] = (struct mm){.root = root, .users = 1, .comm = (int32_t)comm, .tables = 1};
	return mm;
}

int64_t drop_space(struct guest *guest, int vcpu, int mm)
{
	if (--guest->mms[mm].users > 0)
		return ABSENT;
	return destroy_space(guest, vcpu, mm);
}

int ensure_space(struct guest *guest, int vcpu, struct process *process, int64_t comm)
{
	struct cpu *cpu = &guest->cpus[vcpu];

	if (process->mm == ABSENT) {
		guest->world->activity = ACTIVITY_EXEC;
		process->mm = new_space(guest, vcpu, comm);
		if (process->mm == ABSENT)
			return ABSENT;
	}
	if (cpu->pid == process->pid) {
		cpu->active_mm = process->mm;
		if (cpu->mm != process->mm) {
			guest->world->activity = ACTIVITY_SWITCH;
			load_root(guest, vcpu, process->mm);
		}
	}
	return process->mm;
}
