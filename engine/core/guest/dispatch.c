/* Carry out layer-1 operations one after the other until they end or the buffer is full. */
#include "dispatch.h"

#include "calls.h"
#include "emit.h"
#include "guest/mappings/faults.h"
#include "guest/mappings/reclaim.h"
#include "guest/mappings/touches.h"
#include "guest/processes/processes.h"
#include "guest/processes/schedule.h"
#include "guest/processes/spaces.h"

/* Operations after an exec that are searched for its first write to the stack, which tells where the stack is. */
#define LOOK_AHEAD 2048

/* Operations of one array, and the one that is carried out. */
struct trace {
	const struct operation *operations;
	int64_t count;
	int64_t position;
};

/* Return the page above the first stack write after an exec, where arguments lie; Linux' fixed place if none. */
static int64_t stack_page_of(const struct trace *trace)
{
	uint32_t pid = trace->operations[trace->position].pid;
	int64_t last = least(trace->position + LOOK_AHEAD, trace->count);

	for (int64_t later = trace->position + 1; later < last; later++) {
		const struct operation *operation = &trace->operations[later];
		int64_t address = (int64_t)operation->address;

		if (operation->pid != pid)
			continue;
		if (operation->kind == OPERATION_EXEC || operation->kind == OPERATION_EXIT)
			break;
		if (operation->kind == OPERATION_FAULT && operation->flags & FAULT_ERROR_WRITE &&
		    address >= STACK_LOWEST && address < USER_END - 2 * PAGE_SIZE)
			return (address & ~(int64_t)(PAGE_SIZE - 1)) + PAGE_SIZE;
	}
	return STACK_TOP - PAGE_SIZE;
}

/* Translate a page-fault error code. */
static int fault_access(uint32_t flags)
{
	int access = ACCESS_READ;

	if (flags & FAULT_ERROR_WRITE)
		access = ACCESS_WRITE;
	else if (flags & FAULT_ERROR_FETCH)
		access = ACCESS_FETCH;
	return access | (flags & FAULT_ERROR_USER ? ACCESS_USER : 0);
}

/* Carry out an operation on one address space. */
static void change_space(struct guest *guest, int vcpu, int mm, const struct operation *operation)
{
	int64_t address = (int64_t)operation->address, length = (int64_t)operation->length;
	int64_t flags = operation->flags, comm = operation->comm;

	switch (operation->kind) {
	case OPERATION_FAULT:
		if (address <= 0 || address >= USER_END)
			break;
		page_fault(guest, vcpu, mm, address, fault_access(operation->flags), comm);
		guest->world->activity = ACTIVITY_KERNEL;
		touch_for_fault(guest, vcpu);
		break;
	case OPERATION_MAP:
		map_range(guest, vcpu, mm, address, length, flags, comm);
		break;
	case OPERATION_UNMAP:
		unmap_call(guest, vcpu, mm, address, length);
		break;
	case OPERATION_PROTECT:
		protect_range(guest, vcpu, mm, address, length, flags);
		break;
	case OPERATION_BRK:
		set_break(guest, vcpu, mm, address);
		break;
	case OPERATION_REMAP:
		remap_range(guest, vcpu, mm, address, length);
		break;
	case OPERATION_ADVISE:
		advise_range(guest, vcpu, mm, address, length, flags);
		break;
	}
}

/* Return the process that does an operation; one that no operation made was there before the trace. */
static struct process *acting_process(struct guest *guest, int vcpu, const struct operation *operation)
{
	struct process *process = find_process(guest, operation->pid);

	if (process != NULL)
		return process;
	process = add_process(guest, operation->pid, ABSENT, operation->comm);
	if (process == NULL)
		return NULL;
	guest->world->activity = ACTIVITY_FORK;
	take_process_data(guest, vcpu, process);
	return process;
}

/* Carry out a system call or a fault of a process that runs. */
static void act(struct guest *guest, int vcpu, struct process *process, const struct trace *trace)
{
	const struct operation *operation = &trace->operations[trace->position];
	int mm;

	switch (operation->kind) {
	case OPERATION_CLONE:
		clone_process(guest, vcpu, process, operation);
		break;
	case OPERATION_EXEC:
		exec_process(guest, vcpu, process, operation->comm, stack_page_of(trace));
		break;
	case OPERATION_EXIT:
		end_process(guest, vcpu, process);
		break;
	default:
		mm = ensure_space(guest, vcpu, process, operation->comm);
		if (mm != ABSENT)
			change_space(guest, vcpu, mm, operation);
	}
}

/* Carry out one operation on the vCPU where it happened. */
static void carry_out(struct guest *guest, const struct trace *trace)
{
	const struct operation *operation = &trace->operations[trace->position];
	int vcpu = operation->vcpu;
	struct cpu *cpu = &guest->cpus[vcpu];
	struct process *process;

	if (operation->kind == OPERATION_SWITCH_OUT) {
		if (cpu->pid == operation->pid)
			switch_out(guest, vcpu);
		return;
	}
	if (cpu->pid != operation->pid || (operation->kind == OPERATION_SWITCH_IN && !cpu->running)) {
		switch_in(guest, vcpu, operation->pid);
		cpu->exited = ABSENT;
	}
	if (operation->kind == OPERATION_SWITCH_IN) {
		retouch(guest, vcpu);
		return;
	}
	/* What a process does after its exit was recorded while it went away. */
	if (cpu->exited == operation->pid)
		return;
	process = acting_process(guest, vcpu, operation);
	if (process == NULL)
		return;
	retouch(guest, vcpu);
	act(guest, vcpu, process, trace);
}

/* Return how many frames must be free before an operation: the reserve, and the tables that a fork copies. */
static int64_t frames_wanted(const struct guest *guest, const struct operation *operation)
{
	int64_t wanted = guest->knobs->low_frames;
	const struct process *process;

	if (operation->kind != OPERATION_CLONE)
		return wanted;
	process = find_process(guest, operation->pid);
	return process == NULL || process->mm == ABSENT ? wanted : wanted + guest->mms[process->mm].tables;
}

/*
 * Tell whether an operation is one: the caller has looked at it too, and says more. Run time of 255 vCPUs up to the
 * latest time fits into 63 bits.
 */
static bool is_valid(const struct guest *guest, const struct operation *operation)
{
	return operation->vcpu < guest->world->vcpus && operation->kind <= OPERATION_EXIT &&
	       operation->time_ns <= TIME_NS_MAX;
}

int run_operations(struct guest *guest, const struct operation *operations, int64_t count, int64_t *position)
{
	struct trace trace = {operations, count, *position};
	struct world *world = guest->world;

	for (; trace.position < count; trace.position++, *position = trace.position) {
		const struct operation *operation = &operations[trace.position];
		int64_t wanted;

		if (rows_full(&guest->out))
			return STATUS_BUFFER_FULL;
		if (!is_valid(guest, operation))
			return STATUS_BAD_OPERATION;
		world->now = most((int64_t)operation->time_ns, world->now);
		if (!open_windows(guest, world->now))
			return STATUS_BUFFER_FULL;
		account_run(guest, operation->vcpu, world->now);
		wanted = frames_wanted(guest, operation);
		if (world->free_frames < wanted)
			reclaim(guest, operation->vcpu, wanted);
		carry_out(guest, &trace);
		if (world->failure)
			return (int)world->failure;
		if (guest->out.spill->failed)
			return STATUS_NO_HOST_MEMORY;
	}
	return STATUS_DONE;
}

void finish_run(struct guest *guest)
{
	for (int vcpu = 0; vcpu < guest->world->vcpus; vcpu++)
		report_run(guest, vcpu);
}
