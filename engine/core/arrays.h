/* A tuple of Python's arrays as a record of pointers, for the parts of the core whose state lives between calls. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "buffers.h"
#include "rows.h"

#define ARRAYS_MAX 20

/* One array: its name for errors, the size of what it holds, and where in the record its address goes. */
struct array {
	const char *name;
	size_t item_bytes;
	size_t offset;
	bool writable;
};

/* The array whose address goes into a member of a record. */
#define ARRAY(type, member, writable) \
	{#member, sizeof(*((type *)0)->member), offsetof(type, member), writable}

/* Arrays that C works on, in the order in which Python's tuple holds them. */
struct arrays {
	const char *owner;
	const struct array *list;
	int count;
	int taken;
	Py_buffer views[ARRAYS_MAX];
};

/* Take the arrays of a tuple and set the pointers of a record. False with ValueError set, and none taken, if one is
 * missing or is no array of its records. */
bool take_arrays(struct arrays *arrays, PyObject *tuple, void *record);

/* Give the arrays back. */
void release_arrays(struct arrays *arrays);

/* Return how many records an array holds. */
int64_t array_length(const struct arrays *arrays, int place);

/* Tell whether an array holds as many records as it must; ValueError is set if not. */
bool expect_length(const struct arrays *arrays, int place, int64_t length);

/* Tell whether a number lies in a range; ValueError is set if not. */
bool expect_range(const struct arrays *arrays, const char *name, int64_t value, int64_t low, int64_t high);

/* Make an empty spill, as a capsule that owns it. */
PyObject *new_spill(PyObject *module, PyObject *arguments);

/* Return the spill of a capsule; NULL with ValueError set if it is none. */
struct spill *spill_of(PyObject *capsule);
