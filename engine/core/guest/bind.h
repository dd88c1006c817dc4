#pragma once

#include "buffers.h"
#include "state.h"

enum { GUEST_ARRAYS = 19 };

/* The arrays of a guest while C works on them. */
struct binding {
	struct guest guest;
	Py_buffer views[GUEST_ARRAYS];
	int taken;
};

/* Make an empty spill, as a capsule that owns it. */
PyObject *new_spill(PyObject *module, PyObject *arguments);

/* Return the spill of a capsule; NULL with ValueError set if it is none. */
struct spill *spill_of(PyObject *capsule);

/*
 * Take the arrays of a guest (`State` of engine/guest/state.py) and look whether their sizes fit each other, then move
 * waiting events to the buffer. False with ValueError set if an array is missing or has another size.
 */
bool bind_guest(struct binding *binding, PyObject *state, PyObject *capsule);

/* Give the arrays back, with the number of events in the buffer noted. */
void unbind_guest(struct binding *binding);
