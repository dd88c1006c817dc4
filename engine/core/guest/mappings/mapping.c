/*
 * The system calls that change an address space: mmap, munmap, mprotect, brk, mremap, madvise. Addresses and lengths
 * may be any 64-bit number: as in Linux, a call with one that cannot be changes nothing.
 */
#include "areas.h"
#include "guest/calls.h"
#include "guest/emit.h"
#include "guest/tables/flush.h"
#include "guest/tables/tables.h"
#include "teardown.h"

static int64_t page_down(int64_t address)
{
	return address & ~(int64_t)(PAGE_SIZE - 1);
}

/* Round up to a page; wraps where it must, because addresses may be anything. */
static int64_t page_up(uint64_t address)
{
	return page_down((int64_t)(address + PAGE_SIZE - 1));
}

/* Return the end of a range, not beyond the user half. */
static int64_t range_end(int64_t start, int64_t length)
{
	return least(page_up((uint64_t)start + (uint64_t)least(most(length, 0), USER_END)), USER_END);
}

void map_range(struct guest *guest, int vcpu, int mm, int64_t start, int64_t length, int64_t flags, int64_t comm)
{
	struct area area = {0};

	guest->world->activity = ACTIVITY_MAP;
	area.start = page_down(start);
	area.end = range_end(area.start, length);
	if (area.start <= 0 || area.end <= area.start)
		return;
	unmap_range(guest, vcpu, mm, area.start, area.end);
	area.flags = (int32_t)(flags & (VM_ANY | VM_SHARED | VM_FILE));
	if (area.flags & VM_FILE)
		area.file = file_identity(comm, (area.end - area.start) >> PAGE_SHIFT);
	insert_area(guest, mm, area);
}

void unmap_call(struct guest *guest, int vcpu, int mm, int64_t start, int64_t length)
{
	if (start < 0 || start >= USER_END || length <= 0)
		return;
	guest->world->activity = ACTIVITY_UNMAP;
	unmap_range(guest, vcpu, mm, page_down(start), range_end(page_down(start), length));
}

/* Return an entry after mprotect (Linux change_pte_range, can_change_pte_writable). */
static uint64_t protected_entry(const struct guest *guest, uint64_t entry, int flags)
{
	const struct guest_frame *frame = &guest->frames[gfn_of(entry)];
	bool own = frame->kind == FRAME_ANONYMOUS && frame->references == 1;

	entry = (entry & ~(PTE_GLOBAL | PTE_WRITABLE | PTE_NO_EXECUTE)) | PTE_PRESENT;
	if (!(flags & VM_EXEC))
		entry |= PTE_NO_EXECUTE;
	if (!(flags & VM_ANY))
		return (entry & ~(uint64_t)PTE_PRESENT) | PTE_GLOBAL;
	if (flags & VM_WRITE && entry & PTE_DIRTY && own && guest->knobs->protect_restores_write)
		entry |= PTE_WRITABLE;
	return entry;
}

/* Change the entries of a range, XCHG then MOV each; tell whether there was any (Linux change_protection). */
static bool protect_entries(struct guest *guest, int vcpu, int mm, int64_t start, int64_t end, int flags)
{
	const struct mm *space = &guest->mms[mm];
	int live = live_flag(space);
	bool found = false;
	int64_t va = start;

	while (va < end) {
		int64_t limit = least(end, (va & ~(span_bytes(2) - 1)) + span_bytes(2));
		int64_t table = find_table(guest, space->root, va, 1);

		if (table == ABSENT) {
			va = after_gap(guest, space->root, va);
			continue;
		}
		for (int64_t page = va; page < limit; page += PAGE_SIZE) {
			int index = index_of(page, 1);
			uint64_t entry = table_entries(guest, table)[index];

			if (!is_mapped(entry))
				continue;
			write_entry(guest, vcpu, table, index, 0, INSTRUCTION_XCHG, live);
			write_entry(guest, vcpu, table, index, protected_entry(guest, entry, flags), INSTRUCTION_MOV,
				    live);
			forget_touches(guest, gfn_of(entry));
			found = true;
		}
		va = limit;
	}
	return found;
}

void protect_range(struct guest *guest, int vcpu, int mm, int64_t start, int64_t length, int64_t protection)
{
	const struct mm *space = &guest->mms[mm];
	int64_t end;

	guest->world->activity = ACTIVITY_PROTECT;
	start = page_down(start);
	end = range_end(start, length);
	if (start <= 0 || end <= start)
		return;
	split_area(guest, mm, start);
	split_area(guest, mm, end);
	for (int index = first_area_after(guest, mm, start); index < space->areas; index++) {
		struct area *area = &guest->areas[mm][index];
		int flags = (area->flags & ~VM_ANY) | (int)(protection & VM_ANY);
		int64_t low = most(start, area->start), high = least(end, area->end);

		if (area->start >= end)
			break;
		if (flags == area->flags)
			continue;
		area->flags = flags;
		if (protect_entries(guest, vcpu, mm, low, high, flags))
			flush_range(guest, vcpu, mm, low, high);
	}
}

void set_break(struct guest *guest, int vcpu, int mm, int64_t address)
{
	struct mm *space = &guest->mms[mm];
	struct area area = {.start = space->program_break, .end = page_up((uint64_t)address)};
	int index;

	if (address <= 0 || address >= STACK_LOWEST)
		return;
	space->program_break = area.end;
	if (area.start == 0 || area.end == area.start)
		return;
	if (area.end < area.start) {
		guest->world->activity = ACTIVITY_UNMAP;
		unmap_range(guest, vcpu, mm, area.end, area.start);
		return;
	}
	index = first_area_after(guest, mm, area.start);
	if (index < space->areas)
		area.end = least(area.end, guest->areas[mm][index].start);
	area.flags = VM_READ | VM_WRITE | VM_HEAP;
	if (area.end > area.start)
		insert_area(guest, mm, area);
}

void remap_range(struct guest *guest, int vcpu, int mm, int64_t start, int64_t length)
{
	int index = find_area(guest, mm, start);
	int64_t end = range_end(start, length);
	int64_t ceiling = USER_END;
	struct area *area;

	if (index == ABSENT)
		return;
	area = &guest->areas[mm][index];
	if (end < area->end) {
		guest->world->activity = ACTIVITY_UNMAP;
		unmap_range(guest, vcpu, mm, end, area->end);
		return;
	}
	if (index + 1 < guest->mms[mm].areas)
		ceiling = area[1].start;
	area->end = least(end, ceiling);
}

void advise_range(struct guest *guest, int vcpu, int mm, int64_t start, int64_t length, int64_t advice)
{
	const struct mm *space = &guest->mms[mm];
	int64_t end;

	if (advice != ADVICE_DONTNEED && advice != ADVICE_DONTNEED_LOCKED)
		return;
	guest->world->activity = ACTIVITY_UNMAP;
	start = page_down(start);
	end = range_end(start, length);
	for (int index = first_area_after(guest, mm, start); index < space->areas; index++) {
		const struct area *area = &guest->areas[mm][index];
		struct cleared cleared;

		if (area->start >= end)
			break;
		cleared = clear_entries(guest, vcpu, mm, most(start, area->start), least(end, area->end),
					INSTRUCTION_XCHG);
		if (cleared.end)
			flush_range(guest, vcpu, mm, cleared.start, cleared.end);
		free_gathered(guest, vcpu);
	}
}
