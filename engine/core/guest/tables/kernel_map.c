/* The kernel half of the guest's address space, as it stands when the trace begins. All roots share it. */
#include "kernel_map.h"

#include "guest/emit.h"
#include "guest/frames/allocator.h"
#include "tables.h"

/* Where the kernel takes the frames for its own tables and stacks: its data, after struct page. */
struct builder {
	struct guest *guest;
	int64_t next_gfn;
	int64_t end_gfn;
};

/* Take the next frame of kernel data. */
static int64_t take_frame(struct builder *builder)
{
	if (builder->next_gfn >= builder->end_gfn) {
		builder->guest->world->failure = STATUS_NO_MEMORY;
		return builder->end_gfn - 1;
	}
	return builder->next_gfn++;
}

/* Take the next frame of kernel data as a table; ABSENT and a noted failure if there is no room. */
static int64_t add_table(struct builder *builder, int level)
{
	struct guest *guest = builder->guest;
	struct world *world = guest->world;
	int64_t gfn = take_frame(builder);
	struct guest_frame *frame = &guest->frames[gfn];

	if (world->slot_top == 0)
		world->failure = STATUS_NO_MEMORY;
	if (world->failure)
		return ABSENT;
	frame->kind = FRAME_TABLE;
	frame->was_table = 1;
	frame->level = (uint8_t)level;
	frame->contents = 1 + guest->slots[--world->slot_top];
	return gfn;
}

/* Map an address at level 1 (4 KiB) or 2 (2 MiB), with the tables above. */
static void set_leaf(struct builder *builder, int64_t va, int64_t gfn, int leaf_level)
{
	struct guest *guest = builder->guest;
	int64_t table = guest->world->kernel_root;
	uint64_t flags = KERNEL_PAGE_FLAGS | (leaf_level > 1 ? PTE_LARGE : 0);

	for (int level = ROOT_LEVEL; level > leaf_level; level--) {
		uint64_t *entry = &table_entries(guest, table)[index_of(va, level)];

		if (*entry == 0) {
			int64_t below = add_table(builder, level - 1);

			if (below == ABSENT)
				return;
			*entry = (uint64_t)(below << PAGE_SHIFT) | KERNEL_TABLE_FLAGS;
		}
		table = gfn_of(*entry);
	}
	if (va < KERNEL_TEXT)
		flags |= PTE_NO_EXECUTE;
	table_entries(guest, table)[index_of(va, leaf_level)] = (uint64_t)(gfn << PAGE_SHIFT) | flags;
}

/* Map the direct map, struct page, kernel stacks, the CPU entry area and the kernel image. */
static void build_tables(struct builder *builder)
{
	const struct world *world = builder->guest->world;

	for (int64_t first = 0; first < world->pages && !world->failure; first += REGION_PAGES)
		set_leaf(builder, DIRECT_MAP + (first << PAGE_SHIFT), first, 2);
	for (int64_t i = 0; i < world->memmap_regions && !world->failure; i++)
		set_leaf(builder, MEMMAP + i * span_bytes(2), world->kernel_base + i * REGION_PAGES, 2);
	for (int64_t i = 0; i < KERNEL_TEXT_REGIONS && !world->failure; i++)
		set_leaf(builder, KERNEL_TEXT + i * span_bytes(2), KERNEL_TEXT_GFN + i * REGION_PAGES, 2);
	for (int64_t i = 0; i < KERNEL_STACK_PAGES && !world->failure; i++)
		set_leaf(builder, STACK_MAP + (i << PAGE_SHIFT), take_frame(builder), 1);
	if (world->failure)
		return;
	/* Its entry names the frame that its own level-3 table takes: no event reads or writes that page. */
	set_leaf(builder, CPU_ENTRY_AREA, builder->next_gfn, 1);
	take_frame(builder);
}

/* The last page of the kernel image stands for Linux' page of zeros. */
static void reserve_zero_page(struct guest *guest)
{
	struct world *world = guest->world;

	world->zero_gfn = KERNEL_TEXT_GFN + KERNEL_TEXT_REGIONS * REGION_PAGES - 1;
	guest->frames[world->zero_gfn].kind = FRAME_RESERVED;
}

/* Emit the tables between two frames, then what they hold, then a CR3 load on each vCPU. */
static void emit_tables(struct guest *guest, int64_t first, int64_t last)
{
	const struct world *world = guest->world;

	for (int64_t gfn = first; gfn < last; gfn++) {
		if (guest->frames[gfn].kind == FRAME_TABLE)
			emit(guest, 0, EVENT_LINK, gfn << PAGE_SHIFT, guest->frames[gfn].level);
	}
	for (int64_t gfn = first; gfn < last; gfn++) {
		const uint64_t *entries = table_entries(guest, gfn);

		for (int index = 0; entries != NULL && index < ENTRIES; index++) {
			if (entries[index] != 0)
				emit(guest, 0, EVENT_CONTENT, (gfn << PAGE_SHIFT) + index * ENTRY_BYTES, entries[index]);
		}
	}
	for (int vcpu = 0; vcpu < world->vcpus; vcpu++)
		emit(guest, vcpu, EVENT_CR3, 0, (uint64_t)(world->kernel_root << PAGE_SHIFT));
}

int power_on(struct guest *guest)
{
	struct world *world = guest->world;
	int64_t first_free = world->kernel_base + world->kernel_frames;
	int64_t first_table = world->kernel_base + world->memmap_regions * REGION_PAGES;
	struct builder builder = {guest, first_table, first_free};

	reserve_zero_page(guest);
	world->kernel_root = add_table(&builder, ROOT_LEVEL);
	if (world->kernel_root != ABSENT)
		build_tables(&builder);
	if (world->failure)
		return (int)world->failure;
	seed_free_lists(guest, first_free, world->cache_base);
	emit_tables(guest, first_table, builder.next_gfn);
	return STATUS_DONE;
}
