/* Walk, build and write the guest's page tables; every write is an event. */
#include "tables.h"

#include <string.h>

#include "guest/frames/allocator.h"

#define ROOT_HALF (ENTRIES / 2)

int64_t after_gap(const struct guest *guest, int64_t root, int64_t va)
{
	int64_t table = root;
	int level = ROOT_LEVEL;

	while (level > 2) {
		table = table_below(guest, table, va, level);
		if (table == ABSENT)
			break;
		level--;
	}
	return (va & ~(span_bytes(level) - 1)) + span_bytes(level);
}

void write_entry(struct guest *guest, int vcpu, int64_t table, int index, uint64_t value, int insn, int access)
{
	uint64_t *entries = table_entries(guest, table);

	if (entries == NULL)
		return;
	entries[index] = value;
	emit_store(guest, vcpu, (table << PAGE_SHIFT) + index * ENTRY_BYTES, value, insn, 8, access);
}

void clear_frame(struct guest *guest, int vcpu, int64_t gfn)
{
	struct world *world = guest->world;
	int64_t activity = world->activity;

	world->activity = ACTIVITY_PAGE_REUSE;
	if (guest->frames[gfn].was_table) {
		emit_block(guest, vcpu, gfn << PAGE_SHIFT, (int)world->clear_insn, (int)world->clear_width,
			   (int)world->clear_count);
	} else {
		emit_touch(guest, vcpu, DIRECT_MAP + (gfn << PAGE_SHIFT), ACCESS_WRITE);
	}
	world->activity = activity;
}

void copy_frame(struct guest *guest, int vcpu, int64_t source, int64_t gfn)
{
	struct world *world = guest->world;
	int64_t activity = world->activity;

	if (guest->knobs->init_on_alloc)
		clear_frame(guest, vcpu, gfn);
	emit_touch(guest, vcpu, DIRECT_MAP + (source << PAGE_SHIFT), ACCESS_READ);
	if (guest->frames[gfn].was_table) {
		world->activity = ACTIVITY_PAGE_REUSE;
		emit_block(guest, vcpu, gfn << PAGE_SHIFT, INSTRUCTION_REP_MOVS, 8, ENTRIES);
		world->activity = activity;
	} else if (!guest->knobs->init_on_alloc) {
		emit_touch(guest, vcpu, DIRECT_MAP + (gfn << PAGE_SHIFT), ACCESS_WRITE);
	}
}

/* Allocate a frame for a table and clear it; the caller links it. 0 and a noted failure if there is no room. */
static int64_t allocate_table(struct guest *guest, int vcpu, int level)
{
	struct world *world = guest->world;
	int64_t gfn = allocate_frame(guest, vcpu, MIGRATE_UNMOVABLE, FRAME_TABLE);
	struct guest_frame *frame = &guest->frames[gfn];

	if (world->slot_top == 0) {
		world->failure = STATUS_NO_MEMORY;
		return 0;
	}
	if (gfn == 0)
		return 0;
	frame->contents = 1 + guest->slots[--world->slot_top];
	frame->level = (uint8_t)level;
	memset(guest->entries[frame->contents - 1], 0, sizeof(guest->entries[0]));
	if (!frame->was_table) {
		frame->was_table = 1;
		emit(guest, vcpu, EVENT_LINK, gfn << PAGE_SHIFT, (uint64_t)level);
	}
	emit_block(guest, vcpu, gfn << PAGE_SHIFT, (int)world->clear_insn, (int)world->clear_width,
		   (int)world->clear_count);
	return gfn;
}

void release_table(struct guest *guest, int64_t gfn)
{
	struct guest_frame *frame = &guest->frames[gfn];
	struct world *world = guest->world;

	if (frame->contents == 0)
		return;
	if (world->slot_top < guest->slot_count)
		guest->slots[world->slot_top++] = frame->contents - 1;
	frame->contents = 0;
}

int64_t ensure_table(struct guest *guest, int vcpu, int mm, int64_t va)
{
	struct mm *space = &guest->mms[mm];
	int64_t table = space->root;

	for (int level = ROOT_LEVEL; level > 1; level--) {
		int64_t below = table_below(guest, table, va, level);

		if (below == ABSENT) {
			below = allocate_table(guest, vcpu, level - 1);
			if (below == 0)
				return 0;
			space->tables++;
			write_entry(guest, vcpu, table, index_of(va, level),
				    (uint64_t)(below << PAGE_SHIFT) | TABLE_FLAGS, INSTRUCTION_MOV, live_flag(space));
		}
		table = below;
	}
	return table;
}

int64_t allocate_root(struct guest *guest, int vcpu)
{
	int64_t root = allocate_table(guest, vcpu, ROOT_LEVEL);
	const uint64_t *kernel = table_entries(guest, guest->world->kernel_root);
	uint64_t *entries;

	if (root == 0 || kernel == NULL)
		return 0;
	entries = table_entries(guest, root);
	emit_block(guest, vcpu, (root << PAGE_SHIFT) + ROOT_HALF * ENTRY_BYTES, INSTRUCTION_REP_MOVS, 8, ROOT_HALF);
	for (int index = ROOT_HALF; index < ENTRIES; index++) {
		entries[index] = kernel[index];
		if (kernel[index] != 0)
			emit(guest, vcpu, EVENT_CONTENT, (root << PAGE_SHIFT) + index * ENTRY_BYTES, kernel[index]);
	}
	return root;
}
