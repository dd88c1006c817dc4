/*
 * Rows that leave through a buffer of fixed size. Rows that find it full wait in a spill, which grows, and come first
 * when the buffer is empty again: an operation may make any number of events, and no room must be computed beforehand.
 */
#pragma once

#include <stddef.h>

#define ROW_BYTES_MAX 64

struct spill {
	char *rows;
	size_t capacity;
	size_t count;
	/* Rows that were moved to the buffer already. */
	size_t taken;
	/* No memory was left for a row: it is lost, and so is the trace. */
	int failed;
	/* What is written where a row is lost. */
	char lost_row[ROW_BYTES_MAX];
};

struct rows {
	char *rows;
	size_t capacity;
	size_t count;
	size_t row_bytes;
	struct spill *spill;
};

/* Return the place of a new row in the spill. */
void *spill_row(struct rows *out);

/* Move waiting rows to the buffer, as many as fit. */
void drain_spill(struct rows *out);

/* Give the memory of a spill back. */
void empty_spill(struct spill *spill);

static inline int rows_full(const struct rows *out)
{
	return out->count >= out->capacity;
}

/* Return the place of a new row; the caller fills all of it in. */
static inline void *append_row(struct rows *out, size_t row_bytes)
{
	if (rows_full(out))
		return spill_row(out);
	return out->rows + row_bytes * out->count++;
}
