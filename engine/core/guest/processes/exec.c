/* The system call execve. Source: fs/exec.c of Linux 6.1 (begin_new_exec, setup_arg_pages). */
#include "guest/calls.h"
#include "guest/emit.h"
#include "guest/mappings/areas.h"
#include "guest/mappings/faults.h"
#include "guest/mappings/teardown.h"
#include "guest/tables/flush.h"
#include "guest/tables/tables.h"
#include "spaces.h"

/* Map the stack and fill its argument pages, from the highest down; false and a noted failure if memory is short. */
static bool build_stack(struct guest *guest, int vcpu, int mm, int64_t end)
{
	struct area stack = {.start = end - STACK_SPAN, .end = end};

	stack.flags = VM_READ | VM_WRITE | VM_STACK | VM_PRIVATE_PAGES;
	insert_area(guest, mm, stack);
	for (int64_t page = 0; page < guest->knobs->exec_argument_pages; page++) {
		int64_t va = end - (page + 1) * PAGE_SIZE;
		int64_t table = ensure_table(guest, vcpu, mm, va);
		int64_t gfn = new_user_frame(guest, vcpu, mm, va);

		if (table == 0 || gfn == 0)
			return false;
		clear_frame(guest, vcpu, gfn);
		set_page(guest, vcpu, mm, table, va, page_entry(gfn, VM_READ | VM_WRITE, true));
		remember_page(guest, mm, va);
	}
	return true;
}

/* Give the argument pages the stack's final protection: XCHG and MOV, no flush (Linux setup_arg_pages). */
static void protect_arguments(struct guest *guest, int vcpu, int mm, int64_t end)
{
	for (int64_t page = 0; page < guest->knobs->exec_argument_pages; page++) {
		int64_t va = end - (page + 1) * PAGE_SIZE;
		int64_t table = find_table(guest, guest->mms[mm].root, va, 1);
		int index = index_of(va, 1);
		uint64_t entry;

		if (table == ABSENT)
			return;
		entry = table_entries(guest, table)[index];
		write_entry(guest, vcpu, table, index, 0, INSTRUCTION_XCHG, ACCESS_LIVE);
		write_entry(guest, vcpu, table, index, entry, INSTRUCTION_MOV, ACCESS_LIVE);
	}
}

void exec_process(struct guest *guest, int vcpu, struct process *process, int64_t comm, int64_t stack_page)
{
	int64_t end = least(stack_page + PAGE_SIZE, STACK_TOP);
	struct world *world = guest->world;
	int old = process->mm;
	int mm;

	world->activity = ACTIVITY_EXEC;
	mm = new_space(guest, vcpu, comm);
	if (mm == ABSENT || !build_stack(guest, vcpu, mm, end))
		return;
	process->mm = mm;
	process->comm = (int32_t)comm;
	guest->cpus[vcpu].active_mm = mm;
	load_root(guest, vcpu, mm);
	if (old != ABSENT) {
		int64_t root = drop_space(guest, vcpu, old);

		if (root != ABSENT)
			free_root(guest, vcpu, root);
	}
	world->activity = ACTIVITY_EXEC;
	protect_arguments(guest, vcpu, mm, end);
}
