/*
 * Page faults: demand paging, fault-around, copy on write.
 * Source: mm/memory.c of Linux 6.1 (do_anonymous_page, do_fault, do_fault_around, wp_page_copy, wp_page_reuse).
 */
#include "faults.h"

#include "areas.h"
#include "guest/emit.h"
#include "guest/frames/allocator.h"
#include "guest/tables/flush.h"
#include "guest/tables/tables.h"

uint64_t page_entry(int64_t gfn, int flags, bool writable)
{
	uint64_t entry = (uint64_t)(gfn << PAGE_SHIFT) | PTE_PRESENT | PTE_USER | PTE_ACCESSED;

	if (writable)
		entry |= PTE_WRITABLE | PTE_DIRTY;
	if (!(flags & VM_EXEC))
		entry |= PTE_NO_EXECUTE;
	return entry;
}

int64_t new_user_frame(struct guest *guest, int vcpu, int mm, int64_t va)
{
	int64_t gfn = allocate_frame(guest, vcpu, MIGRATE_MOVABLE, FRAME_ANONYMOUS);

	guest->frames[gfn].owner = mm;
	guest->frames[gfn].va = va & ~(int64_t)(PAGE_SIZE - 1);
	return gfn;
}

void set_page(struct guest *guest, int vcpu, int mm, int64_t table, int64_t va, uint64_t entry)
{
	struct mm *space = &guest->mms[mm];

	write_entry(guest, vcpu, table, index_of(va, 1), entry, INSTRUCTION_MOV, live_flag(space));
	space->resident++;
}

/*
 * Map the page-cache pages around a read fault in rising order; the window starts aligned or with its area (Linux
 * do_fault_around).
 */
static void map_file_around(struct guest *guest, int vcpu, int mm, int index, int64_t table, int64_t va)
{
	const struct area *area = &guest->areas[mm][index];
	const uint64_t *entries = table_entries(guest, table);
	int64_t window = guest->knobs->fault_around_pages << PAGE_SHIFT;
	int64_t page = va & ~(int64_t)(PAGE_SIZE - 1);
	int64_t region = page & ~(span_bytes(2) - 1);
	int64_t first = most(most(page - page % window, area->start), region);
	int64_t last = least(least(first + window, area->end), region + span_bytes(2));

	for (int64_t around = first; around < last; around += PAGE_SIZE) {
		if (!is_mapped(entries[index_of(around, 1)])) {
			int64_t gfn = cache_gfn(guest, mm, index, around);

			set_page(guest, vcpu, mm, table, around, page_entry(gfn, area->flags, false));
		}
	}
}

/* Map a page that is not there, as its area says (Linux do_anonymous_page, do_fault). */
static void map_missing(struct guest *guest, int vcpu, int mm, int index, int64_t va, bool write)
{
	int64_t table = ensure_table(guest, vcpu, mm, va);
	struct area *area = &guest->areas[mm][index];
	int flags = area->flags;
	int64_t gfn;

	if (table == 0)
		return;
	if (flags & VM_FILE && flags & VM_SHARED && write) {
		gfn = cache_gfn(guest, mm, index, va);
		set_page(guest, vcpu, mm, table, va, page_entry(gfn, flags, true));
		return;
	}
	if (flags & VM_FILE && !write) {
		map_file_around(guest, vcpu, mm, index, table, va);
		return;
	}
	area->flags |= VM_PRIVATE_PAGES;
	if (!write) {
		set_page(guest, vcpu, mm, table, va, page_entry(guest->world->zero_gfn, flags, false));
		return;
	}
	gfn = new_user_frame(guest, vcpu, mm, va);
	if (gfn == 0)
		return;
	if (flags & VM_FILE)
		copy_frame(guest, vcpu, cache_gfn(guest, mm, index, va), gfn);
	else
		clear_frame(guest, vcpu, gfn);
	set_page(guest, vcpu, mm, table, va, page_entry(gfn, flags, true));
}

/* Make a page writable in place (Linux wp_page_reuse). */
static void upgrade_page(struct guest *guest, int vcpu, int mm, int64_t table, int64_t va, uint64_t entry)
{
	entry |= PTE_WRITABLE | PTE_DIRTY | PTE_ACCESSED;
	write_entry(guest, vcpu, table, index_of(va, 1), entry, INSTRUCTION_MOV, live_flag(&guest->mms[mm]));
	if (guest->knobs->upgrade_invlpg)
		flush_page(guest, vcpu, mm, va);
	forget_touches(guest, gfn_of(entry));
}

/*
 * Serve a write to a page that is write-protected: reuse it if nobody shares it, copy it otherwise (Linux
 * do_wp_page, wp_page_copy).
 */
static void break_cow(struct guest *guest, int vcpu, int mm, int index, int64_t table, int64_t va)
{
	uint64_t entry = table_entries(guest, table)[index_of(va, 1)];
	int64_t old = gfn_of(entry);
	struct guest_frame *frame = &guest->frames[old];
	struct area *area = &guest->areas[mm][index];
	bool own = frame->kind == FRAME_ANONYMOUS && frame->references == 1;
	int64_t gfn;
	int live;

	if (area->flags & VM_SHARED || own) {
		upgrade_page(guest, vcpu, mm, table, va, entry);
		return;
	}
	area->flags |= VM_PRIVATE_PAGES;
	gfn = new_user_frame(guest, vcpu, mm, va);
	if (gfn == 0)
		return;
	if (old == guest->world->zero_gfn)
		clear_frame(guest, vcpu, gfn);
	else
		copy_frame(guest, vcpu, old, gfn);
	live = live_flag(&guest->mms[mm]);
	write_entry(guest, vcpu, table, index_of(va, 1), 0, INSTRUCTION_XCHG, live);
	flush_page(guest, vcpu, mm, va);
	write_entry(guest, vcpu, table, index_of(va, 1), page_entry(gfn, area->flags, true), INSTRUCTION_MOV, live);
	if (frame->kind == FRAME_ANONYMOUS)
		frame->references--;
	forget_touches(guest, old);
}

bool mark_seen(struct guest *guest, int vcpu, uint64_t *entry, int access)
{
	bool write = (access & ACCESS_WRITE) != 0;
	int64_t *stamp = &stamps_of(guest, gfn_of(*entry))[vcpu];
	int64_t wanted = guest->cpus[vcpu].generation * 4 + (write ? 3 : 1);

	*entry |= (uint64_t)(PTE_ACCESSED | (write ? PTE_DIRTY : 0));
	if (*stamp >= wanted)
		return false;
	*stamp = wanted;
	return true;
}

/* Show the first stores of a program to a page whose frame was a table once. */
static void show_user_stores(struct guest *guest, int vcpu, int64_t gfn, int64_t va)
{
	const struct guest_frame *frame = &guest->frames[gfn];
	int64_t offset = va & (PAGE_SIZE - 1) & ~7;

	if (!frame->was_table || frame->kind != FRAME_ANONYMOUS)
		return;
	guest->world->activity = ACTIVITY_PAGE_REUSE;
	for (int64_t store = 0; store < guest->knobs->reuse_user_stores; store++) {
		int64_t address = (gfn << PAGE_SHIFT) + ((offset + 8 * store) & (PAGE_SIZE - 1));

		emit_store(guest, vcpu, address, 0, INSTRUCTION_USER, 8, ACCESS_USER_VA);
	}
}

void remember_page(struct guest *guest, int mm, int64_t va)
{
	guest->recent[mm][guest->mms[mm].recent++ & (RECENT - 1)] = va;
}

void page_fault(struct guest *guest, int vcpu, int mm, int64_t va, int access, int64_t comm)
{
	struct world *world = guest->world;
	bool write = (access & ACCESS_WRITE) != 0;
	bool user_stores = false;
	int index = find_area(guest, mm, va);
	uint64_t *place = find_entry(guest, guest->mms[mm].root, va);
	uint64_t entry = place == NULL ? 0 : *place;

	if (index == ABSENT)
		index = infer_area(guest, mm, va, comm, (access & ACCESS_FETCH) != 0);
	world->activity = ACTIVITY_DEMAND_FAULT;
	if (!is_mapped(entry)) {
		emit_fault(guest, vcpu, va, access);
		map_missing(guest, vcpu, mm, index, va, write);
		place = find_entry(guest, guest->mms[mm].root, va);
		user_stores = write;
	} else if (!(entry & PTE_PRESENT) || (write && !(entry & PTE_WRITABLE))) {
		int64_t table = find_table(guest, guest->mms[mm].root, va, 1);

		emit_fault(guest, vcpu, va, access);
		world->activity = ACTIVITY_COW_FAULT;
		if (!(entry & PTE_PRESENT)) {
			world->activity = ACTIVITY_PROTECT;
			upgrade_page(guest, vcpu, mm, table, va, (entry & ~(uint64_t)PTE_GLOBAL) | PTE_PRESENT);
		} else {
			break_cow(guest, vcpu, mm, index, table, va);
			user_stores = true;
		}
	}
	if (world->failure || place == NULL)
		return;
	remember_page(guest, mm, va);
	mark_seen(guest, vcpu, place, access);
	emit_touch(guest, vcpu, va, access);
	if (user_stores)
		show_user_stores(guest, vcpu, gfn_of(*place), va);
}
