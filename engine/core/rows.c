#include "rows.h"

#include <stdlib.h>
#include <string.h>

#define SPILL_ROWS_FIRST 4096

static int grow_spill(struct spill *spill, size_t row_bytes)
{
	size_t capacity = spill->capacity ? 2 * spill->capacity : SPILL_ROWS_FIRST;
	char *rows;

	if (capacity > (size_t)-1 / 2 / ROW_BYTES_MAX)
		return 0;
	rows = realloc(spill->rows, capacity * row_bytes);
	if (rows == NULL)
		return 0;
	spill->rows = rows;
	spill->capacity = capacity;
	return 1;
}

void *spill_row(struct rows *out)
{
	struct spill *spill = out->spill;

	if (spill->count == spill->capacity && !grow_spill(spill, out->row_bytes)) {
		spill->failed = 1;
		return spill->lost_row;
	}
	return spill->rows + out->row_bytes * spill->count++;
}

void drain_spill(struct rows *out)
{
	struct spill *spill = out->spill;
	size_t room = out->capacity - out->count;
	size_t waiting = spill->count - spill->taken;
	size_t moved = waiting < room ? waiting : room;

	if (waiting == 0)
		return;
	memcpy(out->rows + out->row_bytes * out->count, spill->rows + out->row_bytes * spill->taken,
	       out->row_bytes * moved);
	out->count += moved;
	spill->taken += moved;
	if (spill->taken == spill->count)
		empty_spill(spill);
}

void empty_spill(struct spill *spill)
{
	free(spill->rows);
	spill->rows = NULL;
	spill->capacity = 0;
	spill->count = 0;
	spill->taken = 0;
}
