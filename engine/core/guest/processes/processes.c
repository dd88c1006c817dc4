/* Processes by pid: an open-addressing table, and the kernel data that lives as long as a process. */
#include "processes.h"

#include "guest/frames/allocator.h"
#include "guest/tables/tables.h"

/* Knuth's multiplier (The Art of Computer Programming, 6.4). */
#define HASH_MULTIPLIER UINT64_C(2654435761)
#define HASH_SHIFT 7

/* Return the place where the search for a pid starts. */
static int64_t home_place(const struct guest *guest, int64_t pid)
{
	return (int64_t)(((uint64_t)pid * HASH_MULTIPLIER) >> HASH_SHIFT) & (guest->process_places - 1);
}

static int64_t place_after(const struct guest *guest, int64_t place)
{
	return (place + 1) & (guest->process_places - 1);
}

struct process *find_process(const struct guest *guest, int64_t pid)
{
	int64_t place = home_place(guest, pid);

	/* The table is never full, so that every search ends. */
	while (guest->processes[place].pid != ABSENT) {
		if (guest->processes[place].pid == pid)
			return &guest->processes[place];
		place = place_after(guest, place);
	}
	return NULL;
}

struct process *add_process(struct guest *guest, int64_t pid, int mm, int64_t comm)
{
	struct world *world = guest->world;
	int64_t place = home_place(guest, pid);

	if (4 * world->processes >= 3 * guest->process_places) {
		world->failure = STATUS_NO_PROCESS_SLOT;
		return NULL;
	}
	while (guest->processes[place].pid != ABSENT)
		place = place_after(guest, place);
	guest->processes[place] = (struct process){.pid = pid, .mm = mm, .data = ABSENT, .comm = (int32_t)comm};
	world->processes++;
	/* A vCPU ignores what a process does after its exit; one that begins anew under that pid is another process. */
	for (int64_t vcpu = 0; vcpu < world->vcpus; vcpu++)
		if (guest->cpus[vcpu].exited == pid)
			guest->cpus[vcpu].exited = ABSENT;
	return &guest->processes[place];
}

void remove_process(struct guest *guest, struct process *process)
{
	int64_t mask = guest->process_places - 1;
	int64_t hole = process - guest->processes;
	int64_t probe = place_after(guest, hole);

	while (guest->processes[probe].pid != ABSENT) {
		int64_t home = home_place(guest, guest->processes[probe].pid);

		/* What may stand in the hole without being searched for above it moves there. */
		if (((probe - home) & mask) >= ((probe - hole) & mask)) {
			guest->processes[hole] = guest->processes[probe];
			hole = probe;
		}
		probe = place_after(guest, probe);
	}
	guest->processes[hole].pid = ABSENT;
	guest->world->processes--;
}

void take_process_data(struct guest *guest, int vcpu, struct process *process)
{
	process->data = ABSENT;
	for (int64_t left = guest->knobs->process_data_pages; left > 0; left--) {
		int64_t gfn = allocate_frame(guest, vcpu, MIGRATE_UNMOVABLE, FRAME_KERNEL_DATA);

		if (gfn == 0)
			break;
		clear_frame(guest, vcpu, gfn);
		guest->frames[gfn].next = process->data;
		process->data = (int32_t)gfn;
	}
}

void drop_process_data(struct guest *guest, int vcpu, struct process *process)
{
	int32_t gfn = process->data;

	while (gfn != ABSENT) {
		/* To free a frame puts it in a list by the same field. */
		int32_t after = guest->frames[gfn].next;

		free_frame(guest, vcpu, gfn);
		gfn = after;
	}
	process->data = ABSENT;
}
