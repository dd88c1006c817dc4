/*
 * The buddy lists. Source: mm/page_alloc.c of Linux 3.0 and 6.1. Reduced: one zone, two migrate types (tables and
 * kernel data are unmovable, user and page-cache pages movable), no watermarks but the knob `low_frames`.
 */
#include "buddy.h"

/* Put a free block at the head of its list (Linux add_to_free_list). */
static void push_block(struct guest *guest, int64_t gfn, int order)
{
	int32_t *head = &guest->free_heads[guest->blocks[gfn >> BLOCK_ORDER]][order];
	struct guest_frame *frame = &guest->frames[gfn];

	frame->next = *head;
	frame->previous = ABSENT;
	frame->free_order = (int8_t)(1 + order);
	if (*head != ABSENT)
		guest->frames[*head].previous = (int32_t)gfn;
	*head = (int32_t)gfn;
}

/* Take a free block out of its list (Linux del_page_from_free_list). */
static void remove_block(struct guest *guest, int64_t gfn)
{
	struct guest_frame *frame = &guest->frames[gfn];

	if (frame->previous == ABSENT)
		guest->free_heads[guest->blocks[gfn >> BLOCK_ORDER]][frame->free_order - 1] = frame->next;
	else
		guest->frames[frame->previous].next = frame->next;
	if (frame->next != ABSENT)
		guest->frames[frame->next].previous = frame->previous;
	frame->free_order = 0;
}

void free_to_buddy(struct guest *guest, int64_t gfn)
{
	int order = 0;

	while (order < ORDERS - 1) {
		int64_t buddy = gfn ^ (INT64_C(1) << order);

		if (buddy + (INT64_C(1) << order) > guest->world->pages || guest->frames[buddy].free_order != 1 + order)
			break;
		remove_block(guest, buddy);
		gfn = least(gfn, buddy);
		order++;
	}
	push_block(guest, gfn, order);
}

/* The blocks that come of freeing each frame from the last down to the first; only their heads are written to. */
void seed_buddy(struct guest *guest, int64_t first, int64_t last)
{
	while (last > first) {
		int order = ORDERS - 1;

		while (last & ((INT64_C(1) << order) - 1) || last - (INT64_C(1) << order) < first)
			order--;
		last -= INT64_C(1) << order;
		push_block(guest, last, order);
	}
}

/* Take the first frame of a free block and free the rest as smaller blocks (Linux expand). */
static int64_t split_off(struct guest *guest, int64_t gfn)
{
	int order = guest->frames[gfn].free_order - 1;

	remove_block(guest, gfn);
	while (order > 0) {
		order--;
		push_block(guest, gfn + (INT64_C(1) << order), order);
	}
	return gfn;
}

static int64_t block_end(const struct guest *guest, int64_t block)
{
	return least((block + 1) << BLOCK_ORDER, guest->world->pages);
}

/* Give a pageblock another migrate type, and its free blocks to the lists of that type (Linux move_freepages_block). */
static void claim_block(struct guest *guest, int64_t block, int migrate)
{
	int64_t end = block_end(guest, block);

	for (int64_t gfn = block << BLOCK_ORDER; gfn < end; gfn++) {
		int order = guest->frames[gfn].free_order - 1;

		if (order < 0)
			continue;
		/* The list of a block is found by the type of its pageblock: it leaves by the old, comes by the new. */
		remove_block(guest, gfn);
		guest->blocks[block] = (uint8_t)migrate;
		push_block(guest, gfn, order);
		guest->blocks[block] = (uint8_t)(1 - migrate);
	}
	guest->blocks[block] = (uint8_t)migrate;
}

/* Count the free frames of a pageblock. */
static int64_t free_in_block(const struct guest *guest, int64_t block)
{
	int64_t end = block_end(guest, block);
	int64_t total = 0;

	for (int64_t gfn = block << BLOCK_ORDER; gfn < end; gfn++) {
		if (guest->frames[gfn].free_order)
			total += INT64_C(1) << (guest->frames[gfn].free_order - 1);
	}
	return total;
}

/*
 * Take a frame from the other migrate type: of the largest block, and claim its pageblock if half of it is free
 * (Linux __rmqueue_fallback, steal_suitable_fallback).
 */
static int64_t take_fallback(struct guest *guest, int migrate)
{
	for (int order = ORDERS - 1; order >= 0; order--) {
		int64_t head = guest->free_heads[1 - migrate][order];
		int64_t block = head >> BLOCK_ORDER;
		bool may_claim = migrate == MIGRATE_UNMOVABLE || order >= BLOCK_ORDER / 2;

		if (head == ABSENT)
			continue;
		split_off(guest, head);
		if (order > BLOCK_ORDER) {
			if (guest->blocks[block] != migrate)
				claim_block(guest, block, migrate);
		} else if (may_claim && 2 * (free_in_block(guest, block) + 1) >= INT64_C(1) << BLOCK_ORDER) {
			claim_block(guest, block, migrate);
		}
		return head;
	}
	return ABSENT;
}

int64_t take_from_buddy(struct guest *guest, int migrate)
{
	for (int order = 0; order < ORDERS; order++) {
		int64_t head = guest->free_heads[migrate][order];

		if (head != ABSENT)
			return split_off(guest, head);
	}
	return take_fallback(guest, migrate);
}
