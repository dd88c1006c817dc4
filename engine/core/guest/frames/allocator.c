/*
 * Allocate and free frames as Linux does: per-CPU LIFO lists over the buddy lists (buddy.c), both divided by migrate
 * type. Source: mm/page_alloc.c of Linux 3.0 and 6.1 (rmqueue_pcplist, free_unref_page, free_pcppages_bulk).
 */
#include "allocator.h"

#include "buddy.h"

static int64_t ring(int64_t place)
{
	return place & (LIST_ROOM - 1);
}

/* Give frames from the cold end of a per-CPU list back to the buddy lists (Linux free_pcppages_bulk). */
static void drain_list(struct guest *guest, int vcpu, int migrate, int64_t count)
{
	struct frame_list *list = &guest->list_state[vcpu][migrate];

	for (int64_t left = least(count, list->count); left > 0; left--) {
		int64_t gfn = guest->lists[vcpu][migrate][ring(list->bottom)];

		list->bottom = ring(list->bottom + 1);
		list->count--;
		free_to_buddy(guest, gfn);
	}
}

/* Take frames that other vCPUs hold in their lists (Linux drain_all_pages). */
static void drain_all_lists(struct guest *guest)
{
	for (int vcpu = 0; vcpu < guest->world->vcpus; vcpu++) {
		drain_list(guest, vcpu, MIGRATE_UNMOVABLE, LIST_ROOM);
		drain_list(guest, vcpu, MIGRATE_MOVABLE, LIST_ROOM);
	}
}

/* Fill an empty per-CPU list with a batch; what came first is handed out first (Linux rmqueue_bulk). */
static void refill_list(struct guest *guest, int vcpu, int migrate)
{
	struct frame_list *list = &guest->list_state[vcpu][migrate];
	int64_t gfn;

	for (int64_t left = least(guest->knobs->pcp_batch, LIST_ROOM); left > 0; left--) {
		gfn = take_from_buddy(guest, migrate);
		if (gfn == ABSENT)
			break;
		list->bottom = ring(list->bottom - 1);
		list->count++;
		guest->lists[vcpu][migrate][list->bottom] = (int32_t)gfn;
	}
	if (list->count > 0)
		return;
	drain_all_lists(guest);
	gfn = take_from_buddy(guest, migrate);
	if (gfn != ABSENT) {
		list->count = 1;
		guest->lists[vcpu][migrate][ring(list->bottom)] = (int32_t)gfn;
	}
}

int64_t allocate_frame(struct guest *guest, int vcpu, int migrate, int kind)
{
	struct frame_list *list = &guest->list_state[vcpu][migrate];
	struct world *world = guest->world;
	int64_t *stamps;
	int64_t gfn;

	if (list->count == 0)
		refill_list(guest, vcpu, migrate);
	if (list->count == 0) {
		world->failure = STATUS_NO_MEMORY;
		return 0;
	}
	list->count--;
	gfn = guest->lists[vcpu][migrate][ring(list->bottom + list->count)];
	guest->frames[gfn].kind = (uint8_t)kind;
	guest->frames[gfn].references = 1;
	world->free_frames--;
	stamps = stamps_of(guest, gfn);
	for (int64_t other = 0; other < world->vcpus; other++)
		stamps[other] = 0;
	return gfn;
}

void free_frame(struct guest *guest, int vcpu, int64_t gfn)
{
	struct guest_frame *frame = &guest->frames[gfn];
	int migrate = guest->blocks[gfn >> BLOCK_ORDER];
	struct frame_list *list = &guest->list_state[vcpu][migrate];

	if (frame->kind == FRAME_RESERVED)
		return;
	frame->kind = FRAME_NOT_HANDED_OUT;
	frame->references = 0;
	guest->lists[vcpu][migrate][ring(list->bottom + list->count)] = (int32_t)gfn;
	list->count++;
	guest->world->free_frames++;
	if (list->count + guest->list_state[vcpu][1 - migrate].count > guest->knobs->pcp_high)
		drain_list(guest, vcpu, migrate, guest->knobs->pcp_batch);
}

void seed_free_lists(struct guest *guest, int64_t first, int64_t last)
{
	seed_buddy(guest, first, last);
	guest->world->free_frames += last - first;
}
